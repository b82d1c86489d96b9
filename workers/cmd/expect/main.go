// Command expect is the worker role of package expect as a process.
package main

import (
	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/workers/expect"
)

func main() { process.Main(config.RoleExpect, expect.Run) }

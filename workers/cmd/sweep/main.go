// Command sweep is the worker role of package sweep as a process.
package main

import (
	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/workers/sweep"
)

func main() { process.Main(config.RoleSweep, sweep.Run) }

// Command normalize is the worker role of package normalize as a process.
package main

import (
	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/workers/normalize"
)

func main() {
	process.CollectLess()
	process.Main(config.RoleNormalize, normalize.Run)
}

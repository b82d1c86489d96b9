// Command lookup is the worker role of package lookup as a process.
package main

import (
	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/workers/lookup"
)

func main() {
	process.CollectLess()
	process.Main(config.RoleLookup, lookup.Run)
}

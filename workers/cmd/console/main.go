// Command console is the role of package console as a process: web pages for people.
package main

import (
	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/workers/console"
)

func main() { process.Main(config.RoleConsole, console.Run) }

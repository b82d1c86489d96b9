// Package conformance holds the tests that guard what no compiler sees: which
// package may depend on which, that the deployment files agree with the code
// and with each other, and that every NATS user may do what its process does
// and nothing else. It has tests only.
//
// No container engine is needed, and none is used: Dockerfile and compose file
// are checked by parsing them. What only an engine can tell (that the base
// images exist, that the build runs) is not checked here.
package conformance

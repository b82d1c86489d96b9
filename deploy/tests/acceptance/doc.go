// Package acceptance holds the tests that look at Arauto from outside only:
// real binaries, HTTP, and a NATS client. It has no code of its own.
package acceptance

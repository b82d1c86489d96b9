// Package scale holds the proof and the figures of many parked look-ups on
// a broker that is a process of its own: what they cost, and that its death
// loses none of them. It has no code of its own.
package scale

package console

import (
	"fmt"
	"slices"

	"arauto/schemas/order"
	"arauto/workers/operator"
)

// The size of a status in the drawing, and of its cells.
const (
	tileWide, tileHigh = 116, 34
	cellWide, cellHigh = 140, 74
	margin             = 14
)

// places are the columns and rows of the statuses in the drawing.
var places = map[order.Status][2]int{
	order.Pending: {0, 1}, order.Processing: {1, 1}, order.InAnalysis: {2, 1}, order.Authorized: {3, 1}, order.Paid: {4, 1}, order.Settled: {5, 1},
	order.PartiallyRefunded: {5, 0}, order.Refunded: {6, 0}, order.Disputed: {5, 2}, order.ChargedBack: {6, 2},
	order.Expired: {1, 2}, order.Canceled: {2, 2}, order.Refused: {3, 2}, order.Failed: {4, 2},
	order.Authenticated: {1, 0}, order.NotAuthenticated: {1, 2},
}

// node is a status in the drawing.
type node struct {
	Status     order.Status
	X, Y       int // Of its upper left corner.
	CX, CY     int // Of its middle.
	Been, Here bool
	May        bool // It can be reached from where the payment is.
}

// edge is one transition that was made.
type edge struct {
	Path       string // Of SVG.
	Number     uint64 // Of the transition.
	X, Y       int    // Of the number.
	Correction bool
}

// graph is the statuses of a kind with the way that a payment took.
type graph struct {
	Wide, High         int
	TileWide, TileHigh int
	Nodes              []node
	Edges              []edge
	Steps              []order.Status // In their order.
}

// graphOf draws the way of a payment. There is none before its first event.
func graphOf(story operator.Story) *graph {
	if story.Last == nil {
		return nil
	}
	kind, here := story.Last.Kind, story.Last.Status
	g := &graph{TileWide: tileWide, TileHigh: tileHigh}
	var events []*order.Event
	for _, e := range story.Entries {
		if e.Event != nil {
			events = append(events, e.Event)
		}
	}
	slices.SortStableFunc(events, func(a, b *order.Event) int { return int(a.Transition) - int(b.Transition) })
	been := map[order.Status]bool{}
	for _, e := range events {
		been[e.Status] = true
		g.Steps = append(g.Steps, e.Status)
		if e.From != nil {
			been[*e.From] = true
			if made, ok := edgeOf(*e.From, e); ok {
				g.Edges = append(g.Edges, made)
			}
		}
	}
	for _, status := range kind.Statuses() {
		at, ok := places[status]
		if !ok {
			continue
		}
		n := node{Status: status, X: margin + at[0]*cellWide, Y: margin + at[1]*cellHigh, Been: been[status], Here: status == here, May: kind.Reachable(here, status)}
		n.CX, n.CY = n.X+tileWide/2, n.Y+tileHigh/2
		g.Wide, g.High = max(g.Wide, n.X+tileWide+margin), max(g.High, n.Y+tileHigh+margin)
		g.Nodes = append(g.Nodes, n)
	}
	return g
}

// edgeOf draws one transition as a curve. A larger refunded sum leads to the same status.
func edgeOf(from order.Status, e *order.Event) (edge, bool) {
	a, known := places[from]
	b, too := places[e.Status]
	if !known || !too {
		return edge{}, false
	}
	made := edge{Number: e.Transition, Correction: e.Correction}
	ax, ay := margin+a[0]*cellWide+tileWide/2, margin+a[1]*cellHigh+tileHigh/2
	bx, by := margin+b[0]*cellWide+tileWide/2, margin+b[1]*cellHigh+tileHigh/2
	switch {
	case a == b:
		top := ay - tileHigh/2
		made.Path = fmt.Sprintf("M%d %d C%d %d %d %d %d %d", ax-20, top, ax-30, top-24, ax+30, top-24, ax+20, top)
		made.X, made.Y = ax, top-14
	case ay == by && bx > ax:
		made.Path = fmt.Sprintf("M%d %d Q%d %d %d %d", ax+tileWide/2, ay, (ax+bx)/2, ay-bend(b[0]-a[0]), bx-tileWide/2, by)
		made.X, made.Y = (ax+bx)/2, ay-bend(b[0]-a[0])/2-4
	case ay == by:
		made.Path = fmt.Sprintf("M%d %d Q%d %d %d %d", ax-tileWide/2, ay+8, (ax+bx)/2, ay+bend(a[0]-b[0])+10, bx+tileWide/2, by+8)
		made.X, made.Y = (ax+bx)/2, ay+bend(a[0]-b[0])/2+16
	default:
		out, in := tileHigh/2, -tileHigh/2
		if by < ay {
			out, in = in, out
		}
		made.Path = fmt.Sprintf("M%d %d C%d %d %d %d %d %d", ax, ay+out, ax, (ay+by)/2, bx, (ay+by)/2, bx, by+in)
		made.X, made.Y = (ax+bx)/2+10, (ay+by)/2-4
	}
	return made, true
}

// bend is how far a curve leaves the row, so that it passes the statuses between its ends.
func bend(columns int) int {
	if columns <= 1 {
		return 0
	}
	return 2*tileHigh + 4*columns
}

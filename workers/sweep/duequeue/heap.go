package duequeue

// entry is one message: where it is and when it is to be looked at, in
// nanoseconds.
type entry struct {
	sequence uint64
	at       int64
}

// items is a heap.Interface; the earliest comes first.
type items []entry

// Len implements heap.Interface.
func (q items) Len() int { return len(q) }

// Less implements heap.Interface.
func (q items) Less(i, j int) bool { return q[i].at < q[j].at }

// Swap implements heap.Interface.
func (q items) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *items) Push(x any) {
	if e, ok := x.(entry); ok {
		*q = append(*q, e)
	}
}

// Pop implements heap.Interface.
func (q *items) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

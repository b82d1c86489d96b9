package duequeue

// entry is a message: its sequence and its due time, in nanoseconds since 1970.
type entry struct {
	sequence uint64
	at       int64
}

// items is a heap.Interface whose first element is due first.
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

package stale

// Bound sets how many events a round reads and how many payments it judges.
func (s *Sweeper) Bound(read, judged int) { s.maxRead, s.maxJudged = read, judged }

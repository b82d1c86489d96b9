package durability

import (
	"context"
	"time"
)

// Report is what /durability and the operator's command show.
type Report struct {
	Claimed Claim     `json:"claimed"` // By the configuration.
	Holds   bool      `json:"holds"`   // Whether that much was seen.
	Verdict           // What was seen to hold.
	Facts   *Facts    `json:"facts"` // null when nothing was ever seen.
	SeenAt  time.Time `json:"seen_at,omitzero"`
	Problem string    `json:"problem,omitempty"` // Why nothing could be seen this time; the rest is then from seen_at.
}

// Unverified reports whether the claim may hold although it could not be read: the broker,
// or its sync policy alone, is out of this process's sight. Another process may be able to
// read it.
func (r Report) Unverified() bool {
	if r.Holds || r.Facts == nil {
		return !r.Holds
	}
	return r.Facts.Sync == Unseen && (r.Claim | PowerLoss).Covers(r.Claimed)
}

// unseen is the report before anything was seen.
func unseen(claimed Claim) Report {
	return Report{Claimed: claimed, Holds: claimed == 0, Verdict: Verdict{
		Sentence: "What a 200 means is not known, because the broker was not seen yet.", Weak: []Weakness{},
	}}
}

// Look reads the facts once and judges them. Where the broker cannot be seen
// the report says why.
func Look(ctx context.Context, r *Reader, claimed Claim) Report {
	f, err := r.Read(ctx)
	if err != nil {
		report := unseen(claimed)
		report.Problem = err.Error()
		return report
	}
	return reportOf(claimed, f)
}

func reportOf(claimed Claim, f Facts) Report {
	v := Judge(f)
	return Report{Claimed: claimed, Holds: v.Claim.Covers(claimed), Verdict: v, Facts: &f, SeenAt: time.Now().UTC()}
}

package console

import "net/http"

// now fills the first page: how the deployment is.
func (s *site) now(_ *http.Request, v *view) error {
	last := s.watch.last.Load()
	v.Title, v.Every, v.Data, v.AsOf = "now.title", fastEvery, last, last.At
	return nil
}

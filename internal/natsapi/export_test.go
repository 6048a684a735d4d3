package natsapi

import "github.com/parleyhq/parley/internal/session"

// HasLooked tells whether the rights in a session were looked at, and nothing more is planned there.
func HasLooked(a *API, uid session.UID) bool {
	a.rights.mu.Lock()
	defer a.rights.mu.Unlock()
	w := a.rights.sessions[uid]
	return w != nil && w.due == nil && !w.looked.IsZero() && len(a.rights.looks) == 0
}

package app

import "time"

// SetServersDeadline has the listeners stop within another time. It is to be called before the server is told to stop.
func (a *App) SetServersDeadline(deadline time.Duration) { a.serversDeadline = deadline }

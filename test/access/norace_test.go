//go:build !race

package access_test

// raceDetector tells whether the tests, and the server in them, were built with the race detector.
const raceDetector = false

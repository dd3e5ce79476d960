//go:build !unix

package main

func noStopInBackground() {}

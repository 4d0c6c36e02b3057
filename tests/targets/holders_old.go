//go:build !go1.24

package main

func newerHolders() []holder { return nil }

//go:build go1.24

package main

import (
	"runtime"
	"weak"
)

var (
	cleaned []*resource
	glanced []weak.Pointer[[8192]byte]
)

func newerHolders() []holder {
	return []holder{
		{Name: "main.plantCleanups.func1", Kind: "cleanup", MadeIn: "main.plantCleanups",
			What: "closures of runtime.AddCleanup", plant: plantCleanups},
		{Name: "main.glanced", Kind: "global", MadeIn: "main.plantGlanced",
			What: "weak pointers, which hold nothing", plant: plantGlanced},
	}
}

func plantCleanups() (int, int) {
	for i := 0; i < 100; i++ {
		side, of := make([]byte, 16<<10), &resource{handle: new(int)}
		runtime.AddCleanup(of, func(int) { runtime.KeepAlive(side) }, 0)
		cleaned = append(cleaned, of)
	}
	return 100 * 16 << 10, 100
}

func plantGlanced() (int, int) {
	for i := 0; i < 1000; i++ {
		glanced = append(glanced, weak.Make(new([8192]byte)))
	}
	return 0, 0
}

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"unsafe"
)

const (
	mib      = 1 << 20
	pageSize = 4 << 10
	hugeSize = 2 << 20

	madvHugePage = 14
	madvCollapse = 25
)

// What the state is made of. Mappings hold addresses outside of the heap.
var (
	keptPieces   [][]byte
	neverTouched []byte
	usedMemory   [][]byte
	keptMappings [][]byte
	parkedDeep   = make(chan struct{})
)

// resident builds memory whose resident part is known, of one kind, which its argument names:
//
//	untouched  256 MiB of the heap that nobody ever wrote to
//	freed      256 MiB given back to the system (with GODEBUG=madvdontneed=0: lazily)
//	huge       128 objects of 8 KiB in as many huge pages, of which the rest was given back before
//	idle       256 MiB that are free and kept by the runtime, once it was told `free`
//	stacks     64 stacks of 2 MiB, three quarters used
//	mapped     64 MiB of a file, shared, and 32 MiB of it, private and written to
//	tmpfs      64 MiB of a file in memory, mapped, and 32 MiB of one that is not
//	anonymous  64 MiB mapped beside the heap
//	globals    32 MiB of a variable
//	below      256 MiB of the heap that nobody ever wrote to beside 64 MiB in use, 96 MiB that are free
//	           once it was told `free`, and 164 MiB mapped beside the heap; `map` maps 40 MiB more
func resident(arguments []string) commands {
	if len(arguments) != 1 {
		panic("resident takes the name of a kind")
	}
	trouble := ""
	switch arguments[0] {
	case "untouched":
		keptPieces = append(keptPieces, make([]byte, 256*mib))
	case "freed":
		keptPieces = touchedPieces(256, mib)
		keptPieces = nil
		debug.FreeOSMemory()
	case "huge":
		trouble = hugePages()
	case "idle":
		keptPieces = touchedPieces(256, mib)
	case "stacks":
		for i := 0; i < 64; i++ {
			go stackOf(1500)
		}
		for i := 0; i < 64; i++ {
			<-parkedDeep
		}
	case "mapped":
		file := fileOf(os.TempDir(), 64)
		shared := mapped(file, 64*mib, syscall.PROT_READ, syscall.MAP_SHARED)
		private := mapped(file, 32*mib, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
		readAll(shared)
		touch(private)
	case "tmpfs":
		fileOf("/dev/shm", 32)
		file := fileOf("/dev/shm", 64)
		touch(mapped(file, 64*mib, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED))
	case "anonymous":
		mapMore(64)
	case "below":
		neverTouched = make([]byte, 256*mib)
		usedMemory = touchedPieces(1, 64*mib)
		keptPieces = touchedPieces(96*mib/(32<<10), 32<<10)
		mapMore(164)
	case "globals":
		touch(globals[:])
	default:
		panic("no such kind: " + arguments[0])
	}
	return commands{
		"object": func([]string) any {
			return map[string]any{"object": uintptr(unsafe.Pointer(&keptFiles[:1][0]))}
		},
		// The runtime keeps as much as was in use when the last collection ended its marking, which is
		// before it swept: one collection leaves all that it frees, a second one would give it back.
		"free": func([]string) any {
			debug.SetGCPercent(-1)
			keptPieces = nil
			runtime.GC()
			return map[string]any{}
		},
		"map": func([]string) any {
			mapMore(40)
			return map[string]any{}
		},
		"trouble": func([]string) any { return map[string]any{"trouble": trouble} },
		"live": func([]string) any {
			samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
			metrics.Read(samples)
			return map[string]any{"live": samples[0].Value.Uint64(), "gogc": samples[1].Value.Uint64()}
		},
	}
}

var globals [32 * mib]byte

func mapMore(size int) {
	touch(mapped(nil, size*mib, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON))
}

func touchedPieces(count, size int) [][]byte {
	pieces := make([][]byte, count)
	for i := range pieces {
		pieces[i] = make([]byte, size)
		touch(pieces[i])
	}
	return pieces
}

func touch(bytes []byte) {
	for i := 0; i < len(bytes); i += pageSize {
		bytes[i] = 1
	}
}

var readSum byte

func readAll(bytes []byte) {
	for i := 0; i < len(bytes); i += pageSize {
		readSum += bytes[i]
	}
}

// hugePages keeps one object of each 2 MiB, has the runtime give back the rest, and then has the kernel
// fill up the huge pages around the kept ones: they are resident again, and Go does not count them.
func hugePages() string {
	pieces := touchedPieces(256*mib/(8<<10), 8<<10)
	seen := map[uintptr]bool{}
	for _, piece := range pieces {
		if page := uintptr(unsafe.Pointer(&piece[0])) / hugeSize; !seen[page] {
			seen[page] = true
			keptPieces = append(keptPieces, piece)
		}
	}
	pieces = nil
	runtime.GC()
	debug.FreeOSMemory()
	for _, piece := range keptPieces {
		start := unsafe.Pointer(&piece[0])
		offset := uintptr(start) % hugeSize
		page := unsafe.Slice((*byte)(unsafe.Add(start, -int(offset))), hugeSize)
		if err := syscall.Madvise(page, madvHugePage); err != nil {
			return "MADV_HUGEPAGE: " + err.Error()
		}
		if err := syscall.Madvise(page, madvCollapse); err != nil {
			return "MADV_COLLAPSE: " + err.Error()
		}
	}
	return ""
}

// stackOf parks with `depth` kilobytes of stack in use.
//
//go:noinline
func stackOf(depth int) byte {
	var frame [1000]byte
	frame[depth%len(frame)] = 1
	if depth == 0 {
		parkedDeep <- struct{}{}
		select {}
	}
	return frame[0] + stackOf(depth-1)
}

// fileOf makes a file without a name, of so many MiB.
func fileOf(folder string, size int) *os.File {
	file, err := os.CreateTemp(folder, "resident")
	if err != nil {
		panic(err)
	}
	if err := os.Remove(file.Name()); err != nil {
		panic(err)
	}
	piece := make([]byte, mib)
	touch(piece)
	for i := 0; i < size; i++ {
		if _, err := file.Write(piece); err != nil {
			panic(err)
		}
	}
	keptFiles = append(keptFiles, file)
	return file
}

// With room for one, so that it has an address in the heap.
var keptFiles = make([]*os.File, 0, 1)

func mapped(file *os.File, size, protection, flags int) []byte {
	descriptor := -1
	if file != nil {
		descriptor = int(file.Fd())
	}
	mapping, err := syscall.Mmap(descriptor, 0, size, protection, flags)
	if err != nil {
		panic(err)
	}
	keptMappings = append(keptMappings, mapping)
	return mapping
}

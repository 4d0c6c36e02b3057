package main

import (
	"net"
	"os"
	"syscall"
)

// exchange is a pipe as a program keeps one.
type exchange struct{ from, to *os.File }

var (
	openFiles []*os.File
	callers   = map[int]net.Conn{}
	exchanges []*exchange
	listening net.Listener
)

// openedAs is so many descriptors of one kind that somebody keeps open.
type openedAs struct {
	Holder string `json:"holder"`
	Kind   string `json:"kind"`
	Path   string `json:"path"`
	Type   string `json:"type"`
	Count  int    `json:"count"`
}

// descriptors keeps files, connections and pipes open, in variables, in blocked goroutines, and some that only
// the kernel knows.
func descriptors([]string) commands {
	growFiles(40)
	connect(15)
	for i := 0; i < 5; i++ {
		from, to, err := os.Pipe()
		exchanges = append(exchanges, must(&exchange{from, to}, err))
	}
	const bySystemCall = 7
	for i := 0; i < bySystemCall; i++ {
		must(syscall.Open(os.Args[0], syscall.O_RDONLY|syscall.O_CLOEXEC, 0))
	}
	return commands{
		"truth": func([]string) any {
			return map[string]any{
				"held": []openedAs{
					{Holder: "main.openFiles", Kind: "file", Path: "[*]", Type: "os.File", Count: len(openFiles)},
					{Holder: "main.callers", Kind: "socket", Path: "[*]", Type: "net.TCPConn", Count: len(callers)},
					{Holder: "main.listenForever", Kind: "socket", Count: len(callers)},
					{Holder: "main.exchanges", Kind: "pipe", Path: "[*].from", Type: "os.File", Count: len(exchanges)},
					{Holder: "main.exchanges", Kind: "pipe", Path: "[*].to", Type: "os.File", Count: len(exchanges)},
				},
				"files_by_system_call": bySystemCall,
			}
		},
		"grow": func([]string) any {
			growFiles(25)
			return map[string]any{"files": len(openFiles)}
		},
	}
}

func growFiles(count int) {
	for i := 0; i < count; i++ {
		openFiles = append(openFiles, must(os.Open(os.Args[0])))
	}
}

// connect keeps both ends of connections to itself: one in a map, one in a goroutine that waits for an answer.
func connect(count int) {
	listening = must(net.Listen("tcp", "127.0.0.1:0"))
	for i := 0; i < count; i++ {
		asking := must(net.Dial("tcp", listening.Addr().String()))
		callers[i] = must(listening.Accept())
		go listenForever(asking)
	}
}

func listenForever(to net.Conn) {
	var answer [1]byte
	must(to.Read(answer[:]))
}

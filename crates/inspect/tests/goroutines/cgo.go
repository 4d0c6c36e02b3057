// Goroutines in C, in Go called from C, and of threads that C began.
package main

/*
#include <unistd.h>
#include <pthread.h>
extern void goWait(int);
static void callBack(int n) { goWait(n); }
static void sleepInC(void) { for (;;) pause(); }
static void *thread(void *p) { goWait(7); return 0; }
static void start(void) { pthread_t t; pthread_create(&t, 0, thread, 0); }
*/
import "C"

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime/pprof"
	"time"
)

var never = make(chan int)

//export goWait
func goWait(n C.int) { <-never }

func main() {
	for i := 0; i < 3; i++ {
		go func() { C.callBack(1) }()
		go func() { C.sleepInC() }()
		C.start()
	}
	time.Sleep(300 * time.Millisecond)
	fmt.Println("READY")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	var text bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&text, 2)
	fmt.Println(text.Len())
	_, _ = os.Stdout.Write(text.Bytes())
}

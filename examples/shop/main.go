// Command shop is a small web shop to watch: ordinary pages, the usual endpoints for operators, and
// scenarios that go wrong on request. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"example.com/shop/internal/traffic"
)

type options struct {
	listen    string
	load      float64
	pageCache int
	scenarios []string
	settings  Settings
	list      string // a form to list the scenarios in; none to run
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flag package has said why
	}
	if o.list != "" {
		if err := writeList(os.Stdout, NewScenarios(o.settings).listed(), o.list == "json"); err != nil {
			fmt.Fprintln(os.Stderr, "shop:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, func(base string) { fmt.Println("READY", base) }); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var feed int64
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:6060", "`address` to serve at; port 0 is any free one")
	flags.Float64Var(&o.load, "load", 0, "ordinary `requests` a second that the shop makes to itself")
	flags.IntVar(&o.pageCache, "page-cache", 96, "limit of the product page cache in `MiB`")
	flags.DurationVar(&o.settings.WavePeriod, "wave-period", time.Minute, "`time` from crest to crest of traffic-wave")
	flags.DurationVar(&o.settings.Day, "day", 10*time.Minute, "length of a day of slow-leak, a `time`")
	flags.StringVar(&o.settings.FeedDir, "feed-dir", os.TempDir(), "`folder` for the files of scenarios")
	flags.Int64Var(&feed, "feed", 512, "size of the files of big-file and mapped-files in `MiB`")
	flags.BoolFunc("list", "list the scenarios, with what is wrong in each, and end; -list=json for programs", func(form string) error {
		if form != "true" && form != "json" {
			return errors.New("-list or -list=json")
		}
		o.list = form
		return nil
	})
	flags.Func("scenario", "`name[=rate]` of a scenario to start with; may be given again", func(value string) error {
		name, rate, _ := strings.Cut(value, "=")
		if _, err := parseRate(rate); err != nil {
			return err
		}
		if err := NewScenarios(Settings{}).check(name); err != nil {
			return err
		}
		o.scenarios = append(o.scenarios, value)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.settings.FeedBytes = feed * mib
	if flags.NArg() > 0 || o.load < 0 || o.pageCache < 1 || feed < 1 || o.settings.WavePeriod <= 0 || o.settings.Day <= 0 {
		fmt.Fprintln(flags.Output(), "shop: flags only, with sizes and times above 0")
		return o, errors.New("bad flags")
	}
	return o, nil
}

// run serves until ctx is done. It calls ready with the shop's URL once that answers.
func run(ctx context.Context, o options, ready func(base string)) error {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	o.settings.Base = "http://" + listener.Addr().String()
	shop := NewShop(o.pageCache*mib, o.settings)
	scenarios := NewScenarios(o.settings)
	server := &http.Server{Handler: shop.Routes(scenarios), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ready(o.settings.Base)

	for _, value := range o.scenarios {
		name, text, _ := strings.Cut(value, "=")
		rate, _ := parseRate(text) // was read before, in parseOptions
		if err := scenarios.Start(name, rate); err != nil {
			log.Print(err)
		}
	}
	loaded := make(chan struct{})
	loadCtx, stopLoad := context.WithCancel(ctx)
	go func() {
		defer close(loaded)
		if o.load > 0 {
			traffic.Shop(loadCtx, o.settings.Base, o.load, catalogSize)
		}
	}()

	select {
	case err = <-served:
	case <-ctx.Done():
	}
	stopLoad()
	<-loaded
	scenarios.StopAll()
	return errors.Join(err, shutdown(server), shop.Close())
}

func shutdown(server *http.Server) error {
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close() // someone is still reading, a profile for instance
	}
	return nil
}

// Sends calls by analytics-go. Arguments and output: see ../client.ts.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/analytics-go/v3"
)

const library = "github.com/segmentio/analytics-go/v3"

type reporter struct{ open sync.WaitGroup }

func (r *reporter) Success(message analytics.Message) {
	fmt.Println("sent", userOf(message))
	r.open.Done()
}

func (r *reporter) Failure(message analytics.Message, err error) {
	fmt.Println("lost", userOf(message), err)
	r.open.Done()
}

func userOf(message analytics.Message) string {
	switch call := message.(type) {
	case analytics.Identify:
		return call.UserId
	case analytics.Track:
		return call.UserId
	case analytics.Page:
		return call.UserId
	case analytics.Screen:
		return call.UserId
	case analytics.Group:
		return call.UserId
	case analytics.Alias:
		return call.UserId
	}
	panic(fmt.Sprintf("a message of type %T", message))
}

func calls() []analytics.Message {
	happened := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []analytics.Message{
		analytics.Identify{UserId: "1", Traits: analytics.Traits{"plan": "pro"}},
		analytics.Track{
			UserId: "2", Event: "Signed Up", Properties: analytics.Properties{"seats": 3}, Timestamp: happened,
		},
		analytics.Page{UserId: "3", Name: "Start", Properties: analytics.Properties{"path": "/"}},
		analytics.Screen{UserId: "4", Name: "Home", Properties: analytics.Properties{"dark": true}},
		analytics.Group{UserId: "5", GroupId: "g1", Traits: analytics.Traits{"name": "Acme"}},
		analytics.Alias{UserId: "6", PreviousId: "a1"},
	}
}

func counted(count int) []analytics.Message {
	messages := make([]analytics.Message, count)
	for i := range messages {
		n := i + 1
		messages[i] = analytics.Track{
			UserId: strconv.Itoa(n), Event: "Counted", Properties: analytics.Properties{"n": n},
		}
	}
	return messages
}

func numbers() (count, batch, pauseMs int) {
	values := []int{0, 100, 0}
	for i, text := range os.Args[2:] {
		values[i], _ = strconv.Atoi(text)
	}
	return values[0], values[1], values[2]
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == library {
			return module.Version
		}
	}
	return "of an unknown version"
}

func main() {
	if os.Args[1] == "version" {
		fmt.Printf("%s, analytics-go %s\n", runtime.Version(), version())
		return
	}
	count, batch, pauseMs := numbers()
	report := &reporter{}
	client, err := analytics.NewWithConfig(os.Getenv("CLIENT_WRITE_KEY"), analytics.Config{
		Endpoint:  os.Getenv("CLIENT_URL"),
		BatchSize: batch,
		Interval:  100 * time.Millisecond,
		Callback:  report,
	})
	if err != nil {
		panic(err)
	}
	messages := calls()
	if os.Args[1] == "send" {
		messages = counted(count)
	}
	for i, message := range messages {
		report.open.Add(1)
		if err := client.Enqueue(message); err != nil {
			report.Failure(message, err)
		}
		if i+1 == count/4 {
			report.open.Wait()
		}
		if i+1 == count/4*3 {
			bufio.NewReader(os.Stdin).ReadString('\n')
		}
		if (i+1)%batch == 0 {
			time.Sleep(time.Duration(pauseMs) * time.Millisecond)
		}
	}
	// Close drops calls that wait for a retry.
	report.open.Wait()
	client.Close()
}

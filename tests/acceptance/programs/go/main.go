package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type Event struct {
	Name string `json:"name"`
	Do   string `json:"do"`
}

func handle(ctx context.Context, event Event) (map[string]any, error) {
	fmt.Println("got", event.Name)
	switch event.Do {
	case "error":
		return nil, errors.New("no way")
	case "panic":
		panic("help")
	case "exit":
		os.Exit(3)
	}
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return map[string]any{"hello": event.Name, "id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "deadline": deadline.UnixMilli()}, nil
}

func main() { lambda.Start(handle) }

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/http"
	"github.com/salve-healing/salve/sdk/go/plan"
	"github.com/salve-healing/salve/sdk/go/salvetest"
)

// A page as HAProxy writes it, with the columns that count.
func page(rows ...string) string {
	return "# pxname,svname,qcur,scur,status\nweb,FRONTEND,,9,OPEN\n" + strings.Join(rows, "\n") + "\nshop,BACKEND,0,9,UP\n"
}

func drain(host *salvetest.Host, parameters string) *salvetest.Action {
	return salvetest.NewAction[Parameters](host, Drain{}, parameters, "balancer")
}

const shopA = `{"backend":"shop","server":"a","empty_within_ms":1000}`

// A plan says what is there and licenses just the one form.
func TestPlanSaysWhatIsThere(t *testing.T) {
	host := salvetest.NewHost().Answer("balancer", "/stats;csv", 200,
		page("shop,a,0,3,UP", "shop,b,0,4,UP 1/2", "shop,c,0,0,DOWN", "other,a,0,1,UP"))
	approved, err := drain(host, shopA).Plan()
	if err != nil {
		t.Fatal(err)
	}
	if approved.Summary != "Drain server `a` of `shop`, which has 3 sessions; 1 others take traffic" {
		t.Error(approved.Summary)
	}
	if len(approved.Steps) != 1 || !strings.Contains(approved.Steps[0].Arguments, plan.BodySHA256([]byte("action=drain&b=shop&s=a"))) {
		t.Error(approved.Steps)
	}
	if len(host.Receipts()) != 0 {
		t.Error("a plan has written")
	}
}

// What makes no sense here is not applicable, and says why.
func TestNotApplicable(t *testing.T) {
	for _, row := range []struct{ page, parameters, reason string }{
		{page("shop,b,0,0,UP"), shopA, "HAProxy has no server `a` in backend `shop`"},
		{page("shop,a,0,0,DRAIN", "shop,b,0,0,UP"), shopA, "`a` is DRAIN already"},
		{page("shop,a,0,0,UP", "shop,b,0,0,DOWN", "shop,c,0,0,MAINT"), shopA, "only 0 others of `shop` take traffic, 1 must"},
		{page("shop,a,0,0,UP"), `{"backend":"shop","server":"a","state":"ready"}`, "`a` is UP already"},
	} {
		host := salvetest.NewHost().Answer("balancer", "/stats;csv", 200, row.page)
		_, err := drain(host, row.parameters).Plan()
		var failure *action.Failure
		if !errors.As(err, &failure) || failure.Kind != action.KindNotApplicable || failure.Text != row.reason {
			t.Errorf("%q: %v", row.reason, err)
		}
	}
}

// A page that is not HAProxy's, or that does not answer, is a failure with a way out.
func TestOtherPages(t *testing.T) {
	for _, row := range []struct {
		status uint16
		body   string
		reason string
	}{
		{404, "", "status 404"},
		{200, "", "is `/stats` the `stats uri`?"},
		{200, "<html>\"", "is `/stats` the `stats uri`?"},
	} {
		host := salvetest.NewHost().Answer("balancer", "/stats;csv", row.status, row.body)
		if _, err := drain(host, shopA).Plan(); err == nil || !strings.Contains(err.Error(), row.reason) {
			t.Errorf("%q: %v", row.reason, err)
		}
	}
}

// In a dry-run nothing is sent, and nothing is waited for.
func TestDryRun(t *testing.T) {
	host := salvetest.NewHost().Answer("balancer", "/stats;csv", 200, page("shop,a,0,3,UP", "shop,b,0,0,UP")).DryRun()
	test := drain(host, shopA)
	approved, err := test.Plan()
	if err != nil {
		t.Fatal(err)
	}
	began := host.Now()
	outcome, err := test.Execute(approved)
	if err != nil || !outcome.Done || !host.Now().Equal(began) {
		t.Error(outcome, err)
	}
	for _, request := range host.Requests() {
		if request.Method != "GET" {
			t.Error(request)
		}
	}
}

// Sessions that do not end are waited for as long as was said, on the clock of the host, and then told.
func TestSessionsThatStay(t *testing.T) {
	status := "UP"
	host := salvetest.NewHost()
	host.HandleHTTP = func(request *http.Request) *http.Response {
		if request.Method == "POST" {
			status = "DRAIN"
			return &http.Response{Status: 303}
		}
		return &http.Response{Status: 200, Body: []byte(page("shop,a,0,7,"+status, "shop,b,0,0,UP"))}
	}
	test := drain(host, shopA)
	approved, err := test.Plan()
	if err != nil {
		t.Fatal(err)
	}
	began := host.Now()
	outcome, err := test.Execute(approved)
	if err != nil || !outcome.Done || outcome.Note != "`a` gets no new sessions; 7 are left" {
		t.Error(outcome, err)
	}
	if waited := host.Now().Sub(began).Milliseconds(); waited != 1000 {
		t.Errorf("waited %d ms", waited)
	}
}

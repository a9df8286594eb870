package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Area is a part of a page in which its verbs look for things: the whole page,
// or what In, Row or Part narrowed it to. It is looked for anew by each verb.
//
// Things are found as a screen reader finds them: by their role and name. A name
// fits that is the same, or else one that contains it, whatever the case of its
// letters; "" fits every name. What is hidden, or lies behind an open dialog, is
// not there.
type Area struct {
	page  *Page
	steps []step
}

// step narrows an area.
type step struct {
	what string // for messages
	find func(ctx context.Context, in runtime.RemoteObjectID) (runtime.RemoteObjectID, error)
}

func (a Area) narrowed(what string, find func(context.Context, runtime.RemoteObjectID) (runtime.RemoteObjectID, error)) Area {
	return Area{page: a.page, steps: append(slices.Clone(a.steps), step{what, find})}
}

// In narrows to the one thing with a role and name, as a dialog or a region.
func (a Area) In(role, name string) Area {
	return a.narrowed(described(name, role), func(ctx context.Context, in runtime.RemoteObjectID) (runtime.RemoteObjectID, error) {
		n, err := theOne(ctx, in, name, role)
		if err != nil {
			return "", err
		}
		return resolved(ctx, n.BackendDOMNodeID)
	})
}

// Row narrows to the one row of a table, or item of a list, that shows a text.
func (a Area) Row(text string) Area {
	return a.element(fmt.Sprintf("row with %q", text), `function(text) {
		const rows = [...this.querySelectorAll("tr, [role=row], li, [role=listitem]")]
			.filter(e => e.getClientRects().length && e.innerText.includes(text));
		return rows.filter(e => !rows.some(o => o !== e && e.contains(o)));
	}`, text)
}

// Part narrows to the first visible thing that a CSS selector finds, for what has
// neither role nor name.
func (a Area) Part(css string) Area {
	return a.element(css, `function(css) { return [...this.querySelectorAll(css)].filter(e => e.getClientRects().length).slice(0, 1) }`, css)
}

// element narrows to the one element that a function finds.
func (a Area) element(what, function string, args ...any) Area {
	return a.narrowed(what, func(ctx context.Context, in runtime.RemoteObjectID) (runtime.RemoteObjectID, error) {
		list, err := callFor(ctx, in, function, args...)
		if err != nil {
			return "", err
		}
		n, err := callOn[int](ctx, list, `function() { return this.length }`)
		if err != nil {
			return "", err
		}
		if n != 1 {
			return "", fmt.Errorf("there are %d", n)
		}
		return callFor(ctx, list, `function() { return this[0] }`)
	})
}

// root looks the area up.
func (a Area) root(ctx context.Context) (runtime.RemoteObjectID, error) {
	res, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: "document"})
	if err != nil {
		return "", err
	}
	at := res.Result.ObjectID
	for _, s := range a.steps {
		if at, err = s.find(ctx, at); err != nil {
			return "", fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return at, nil
}

// found is a thing of the page, and why it was taken.
type found struct {
	*accessibility.Node
	name string
}

// candidates returns what has one of the roles and a fitting name: what has the
// very name, or where there is no such thing, what has it in its name. The names
// of all that have such a role come along.
func candidates(ctx context.Context, in runtime.RemoteObjectID, name string, roles []string) (fit []found, others []string, err error) {
	if name != "" && len(roles) > 1 {
		// One question instead of many, where the name is the very one.
		if fit, err = called(ctx, in, name, roles); err != nil || len(fit) > 0 {
			return fit, nil, err
		}
	}
	var near []found
	for _, role := range roles {
		res, err := chromedp.Call(ctx, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{ObjectID: in, Role: role})
		if err != nil {
			return nil, nil, err
		}
		for _, n := range res.Nodes {
			if n.Ignored || n.BackendDOMNodeID == 0 {
				continue
			}
			f := found{Node: n, name: plainName(n.Name)}
			others = append(others, fmt.Sprintf("%s %q", role, f.name))
			switch {
			case name == "" || f.name == name:
				fit = append(fit, f)
			case strings.Contains(strings.ToLower(f.name), strings.ToLower(name)):
				near = append(near, f)
			}
		}
	}
	if len(fit) == 0 {
		fit = near
	}
	return fit, others, nil
}

// called returns what has one of the roles and this very name.
func called(ctx context.Context, in runtime.RemoteObjectID, name string, roles []string) (fit []found, err error) {
	res, err := chromedp.Call(ctx, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{ObjectID: in, AccessibleName: name})
	if err != nil {
		return nil, err
	}
	for _, n := range res.Nodes {
		if !n.Ignored && n.BackendDOMNodeID != 0 && slices.Contains(roles, plainName(n.Role)) {
			fit = append(fit, found{Node: n, name: name})
		}
	}
	return fit, nil
}

func plainName(v *accessibility.Value) string {
	var name string
	if v != nil {
		_ = json.Unmarshal(v.Value, &name)
	}
	return strings.Join(strings.Fields(name), " ")
}

// theOne returns the one thing that fits, or says which there are.
func theOne(ctx context.Context, in runtime.RemoteObjectID, name string, roles ...string) (found, error) {
	fit, others, err := candidates(ctx, in, name, roles)
	if err != nil {
		return found{}, err
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	if others == nil {
		for _, f := range fit {
			others = append(others, described(f.name, plainName(f.Role)))
		}
	}
	const most = 25
	if len(others) > most {
		others = append(others[:most], "…")
	}
	return found{}, fmt.Errorf("%d fit; there are: %s", len(fit), strings.Join(others, ", "))
}

func described(name string, roles ...string) string {
	return fmt.Sprintf("%s %q", strings.Join(roles, " or "), name)
}

// on finds the one thing with a role and name and does something with it, again
// and again until that works.
func (a Area) on(verb, name string, roles []string, do func(ctx context.Context, o runtime.RemoteObjectID) error) {
	a.page.t.Helper()
	a.inside(verb+" "+described(name, roles...), func(ctx context.Context, in runtime.RemoteObjectID) error {
		n, err := theOne(ctx, in, name, roles...)
		if err != nil {
			return err
		}
		o, err := resolved(ctx, n.BackendDOMNodeID)
		if err != nil {
			return err
		}
		return do(ctx, o)
	})
}

// inside looks the area up and does something there, until that works.
func (a Area) inside(what string, do func(ctx context.Context, in runtime.RemoteObjectID) error) {
	a.page.t.Helper()
	a.page.until(what, func(ctx context.Context) error {
		in, err := a.root(ctx)
		if err != nil {
			return err
		}
		return do(ctx, in)
	})
}

func resolved(ctx context.Context, id cdp.BackendNodeID) (runtime.RemoteObjectID, error) {
	res, err := chromedp.Call(ctx, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: id})
	if err != nil {
		return "", err
	}
	if res.Object.ObjectID == "" {
		return "", errors.New("it is gone")
	}
	return res.Object.ObjectID, nil
}

// callOn calls a function with an object of the page as this, and decodes what
// it returns.
func callOn[T any](ctx context.Context, this runtime.RemoteObjectID, function string, args ...any) (v T, err error) {
	res, err := call(ctx, this, function, true, args)
	if err != nil {
		return v, err
	}
	return value[T](res.Result, res.ExceptionDetails)
}

// callFor calls a function that returns an object of the page.
func callFor(ctx context.Context, this runtime.RemoteObjectID, function string, args ...any) (runtime.RemoteObjectID, error) {
	res, err := call(ctx, this, function, false, args)
	if err != nil {
		return "", err
	}
	if res.ExceptionDetails != nil || res.Result.ObjectID == "" {
		_, err := value[any](res.Result, res.ExceptionDetails)
		return "", errors.Join(errors.New("no object"), err)
	}
	return res.Result.ObjectID, nil
}

func call(ctx context.Context, this runtime.RemoteObjectID, function string, byValue bool, args []any) (runtime.CallFunctionOnResult, error) {
	yes := true
	params := runtime.CallFunctionOnParams{
		FunctionDeclaration: function, ObjectID: this, ReturnByValue: &byValue, AwaitPromise: &yes, UserGesture: &yes,
	}
	for _, arg := range args {
		b, err := json.Marshal(arg)
		if err != nil {
			return runtime.CallFunctionOnResult{}, err
		}
		params.Arguments = append(params.Arguments, &runtime.CallArgument{Value: b})
	}
	return chromedp.Call(ctx, runtime.CallFunctionOn, params)
}

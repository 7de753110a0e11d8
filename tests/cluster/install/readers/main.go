// Reads objects as GitOps tools do, with their own packages: one JSON document in, one out.
//
//	readers kstatus                                    [object…] -> [status…]
//	readers cel EXPRESSION…                            [object…] -> [[true or false…]…], each expression of each object
//	readers jq PATH…                                   [object…] -> [object…], with the paths deleted
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"github.com/itchyny/gojq"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	answer, err := run(os.Args[1], os.Args[2:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command string, arguments []string) (any, error) {
	switch command {
	case "kstatus":
		return each(func(object map[string]any) (any, error) {
			result, err := status.Compute(&unstructured.Unstructured{Object: object})
			if err != nil {
				return nil, err
			}
			return result.Status, nil
		})
	case "cel":
		return each(func(object map[string]any) (any, error) { return evaluate(arguments, object) })
	case "jq":
		return each(func(object map[string]any) (any, error) { return without(arguments, object) })
	}
	return nil, fmt.Errorf("no command %q", command)
}

// each answers for every object that is read.
func each(answer func(map[string]any) (any, error)) ([]any, error) {
	var texts []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		return nil, err
	}
	var answers []any
	for _, text := range texts {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil { // whole numbers become int64, as everywhere in Kubernetes
			return nil, err
		}
		answered, err := answer(object.Object)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answered)
	}
	return answers, nil
}

// evaluate answers boolean expressions in the environment that Flux makes for them (fluxcd/pkg/runtime/cel, NewExpression).
func evaluate(expressions []string, object map[string]any) ([]bool, error) {
	env, err := cel.NewEnv(
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	)
	if err != nil {
		return nil, err
	}
	var answers []bool
	for _, expression := range expressions {
		parsed, issues := env.Parse(expression) // not checked by type: Flux knows no kinds
		if issues != nil {
			return nil, issues.Err()
		}
		program, err := env.Program(parsed, cel.EvalOptions(cel.OptOptimize))
		if err != nil {
			return nil, err
		}
		value, _, err := program.Eval(object)
		if err != nil {
			return nil, err
		}
		answer, isBool := value.Value().(bool)
		if !isBool {
			return nil, fmt.Errorf("%s is neither true nor false", expression)
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// without deletes paths, as Argo CD's normalizer does with jqPathExpressions before it compares.
func without(paths []string, object any) (any, error) {
	for _, path := range paths {
		query, err := gojq.Parse(fmt.Sprintf("del(%s)", path))
		if err != nil {
			return nil, err
		}
		found, _ := query.Run(object).Next()
		if err, failed := found.(error); failed {
			return nil, err
		}
		object = found
	}
	return object, nil
}

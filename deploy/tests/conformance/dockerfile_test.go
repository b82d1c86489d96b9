package conformance_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// unshipped are binaries that no image is made of, each with its reason.
var unshipped = map[string]string{
	"contract": "it writes the contract documents, which are in the repository",
	"image":    "it writes the images",
	"bench":    "it is `make bench`: it embeds a broker without passwords, and measures what is built beside it",
	"local":    "it is `make run`: it embeds a broker without passwords, for one developer's machine",
}

// stage is one FROM of the Dockerfile with what follows it.
type stage struct {
	name, base   string
	instructions []instruction
}

type instruction struct {
	verb string
	args []string
}

// stages parses the Dockerfile as far as the checks need it: comments, joined
// lines, one instruction per line.
func stages(t *testing.T) []stage {
	t.Helper()
	text := strings.ReplaceAll(read(t, "deploy/Dockerfile"), "\\\n", " ")
	var all []stage
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		verb, args := fields[0], fields[1:]
		if !slices.Contains([]string{"FROM", "WORKDIR", "COPY", "RUN", "ARG", "ENV", "USER", "ENTRYPOINT"}, verb) {
			t.Errorf("the Dockerfile has the instruction %s, which no check understands", verb)
		}
		if verb == "FROM" {
			all = append(all, from(t, args))
			continue
		}
		if len(all) == 0 && verb == "ARG" { // Of the first FROM.
			continue
		}
		if len(all) == 0 {
			t.Fatalf("the Dockerfile begins with %s instead of FROM", verb)
		}
		last := &all[len(all)-1]
		last.instructions = append(last.instructions, instruction{verb, args})
	}
	return all
}

func from(t *testing.T, args []string) stage {
	t.Helper()
	args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "--") })
	if len(args) != 3 || args[1] != "AS" {
		t.Fatalf("FROM %v does not read FROM base AS name", args)
	}
	return stage{name: args[2], base: args[0]}
}

// targets are the stages that hold one binary.
func targets(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, s := range stages(t) {
		if s.base == "base" {
			names = append(names, s.name)
		}
	}
	slices.Sort(names)
	return names
}

// binaries finds every folder of the repository with a main package, by the
// name of the binary that it becomes.
func binaries(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, top := range []string{"gateway", "workers", "schemas", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly)
			if err != nil || file.Name.Name != "main" {
				return err
			}
			folder, err := filepath.Rel(root, filepath.Dir(name))
			found[filepath.Base(folder)] = filepath.ToSlash(folder)
			return err
		})
		testbench.Must(t, err)
	}
	return found
}

func TestEveryBinaryHasItsImage(t *testing.T) {
	t.Parallel()
	var want []string
	for name := range binaries(t) {
		if unshipped[name] == "" {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	if got := targets(t); !slices.Equal(got, want) {
		t.Errorf("the Dockerfile has the targets %v, the folders with a main package are %v", got, want)
	}
	for name := range unshipped {
		if _, ok := binaries(t)[name]; !ok {
			t.Errorf("no binary is called %s any more; remove it from unshipped", name)
		}
	}
}

func TestImagesBuildWhatTheyCopy(t *testing.T) {
	t.Parallel()
	all, built := stages(t), map[string]bool{}
	for _, i := range all[0].instructions {
		if i.verb != "RUN" {
			continue
		}
		for _, arg := range i.args {
			if folder, ok := strings.CutPrefix(arg, "./"); ok {
				built[path.Base(folder)] = true
				if binaries(t)[path.Base(folder)] != folder {
					t.Errorf("the Dockerfile builds %s, which has no main package", arg)
				}
			}
		}
	}
	for _, s := range all[1:] {
		for _, i := range s.instructions {
			if i.verb != "COPY" || s.name == "base" {
				continue
			}
			if want := []string{"--from=build", "/out/" + s.name, "/" + s.name}; !slices.Equal(i.args, want) || !built[s.name] {
				t.Errorf("target %s copies %v, want %v and a build of it", s.name, i.args, want)
			}
		}
		if entry := `["/` + s.name + `"]`; s.name != "base" && !slices.ContainsFunc(s.instructions, func(i instruction) bool {
			return i.verb == "ENTRYPOINT" && strings.Join(i.args, " ") == entry
		}) {
			t.Errorf("target %s does not start %s", s.name, entry)
		}
	}
}

func TestStagesStandOnWhatIsKnown(t *testing.T) {
	t.Parallel()
	// With a digest where the operator gives one.
	known := []string{"golang:" + goVersion(t) + "${GO_IMAGE_DIGEST}", "scratch"}
	for _, s := range stages(t) {
		if !slices.Contains(known, s.base) {
			t.Errorf("stage %s stands on %s, known are %v", s.name, s.base, known)
		}
		for _, i := range s.instructions {
			for _, arg := range i.args {
				if source, ok := strings.CutPrefix(arg, "--from="); ok && !slices.Contains(known, source) {
					t.Errorf("stage %s copies from %s, known are %v", s.name, source, known)
				}
			}
		}
		known = append(known, s.name)
	}
}

func TestImagesRunWithoutRights(t *testing.T) {
	t.Parallel()
	number := regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`)
	for _, s := range stages(t) {
		for _, i := range s.instructions {
			if i.verb == "USER" && (s.name != "base" || !number.MatchString(i.args[0])) {
				t.Errorf("stage %s runs as %v; only base says it, with two numbers that are not 0", s.name, i.args)
			}
		}
		if s.name == "base" && !slices.ContainsFunc(s.instructions, func(i instruction) bool { return i.verb == "USER" }) {
			t.Error("images run as root")
		}
	}
}

func TestBuildContextHoldsNoSecret(t *testing.T) {
	t.Parallel()
	lines := strings.Fields(strings.Join(slices.DeleteFunc(strings.Split(read(t, ".dockerignore"), "\n"), func(l string) bool {
		return strings.HasPrefix(l, "#")
	}), "\n"))
	if len(lines) == 0 || lines[0] != "*" {
		t.Fatal(".dockerignore does not begin by leaving everything out")
	}
	for _, secret := range []string{"deploy/.env", "deploy/arauto.yaml"} {
		if !slices.Contains(lines, secret) {
			t.Errorf("%s would get into the build context", secret)
		}
	}
	for _, line := range lines {
		if kept, ok := strings.CutPrefix(line, "!"); ok {
			if _, err := os.Stat(filepath.Join(root, kept)); err != nil {
				t.Errorf(".dockerignore keeps %s: %v", kept, err)
			}
		}
	}
}

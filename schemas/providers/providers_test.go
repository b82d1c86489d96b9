package providers_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"arauto/schemas/provider/providertest"
	"arauto/schemas/providers"
)

// folder is where a provider lives: its slug without hyphens.
func folder(slug string) string { return strings.ReplaceAll(slug, "-", "") }

func TestEveryProviderAnswersTheSameQuestions(t *testing.T) {
	t.Parallel()
	for _, p := range providers.All {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			providertest.Run(t, p, providertest.Dir(filepath.Join(folder(p.Name), "testdata")))
		})
	}
}

func TestFoldersAndListAgree(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, e.Name())
		}
	}
	var listed []string
	for _, name := range providers.All.Names() {
		listed = append(listed, folder(name))
	}
	slices.Sort(listed)
	if !slices.Equal(folders, listed) {
		t.Errorf("folders are %v, the list has %v", folders, listed)
	}
}

func TestSecretSettingsAreNeverDefaults(t *testing.T) {
	t.Parallel()
	for _, p := range providers.All {
		seen := map[string]bool{}
		for _, s := range p.Settings {
			if s.Secret && s.Default != "" {
				t.Errorf("%s: the secret %s has a default", p.Name, s.Name)
			}
			if s.Help == "" || strings.Contains(s.Help, "\n") {
				t.Errorf("%s: %s needs one line of help", p.Name, s.Name)
			}
			if seen[s.Name] {
				t.Errorf("%s: %s comes twice", p.Name, s.Name)
			}
			seen[s.Name] = true
		}
	}
}

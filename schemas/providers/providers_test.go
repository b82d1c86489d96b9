package providers_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"arauto/schemas/order"
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

// vocabulary is what each provider's words mean, written down a second time, by
// status.
var vocabulary = map[string]map[order.Kind]map[order.Status]string{
	"picpay": {order.Payment: {
		order.Pending: "created pending", order.InAnalysis: "analysis", order.Authorized: "authorized",
		order.Paid: "paid captured", order.Settled: "completed", order.Refunded: "refunded",
		order.ChargedBack: "chargeback", order.Expired: "expired",
	}},
	"picpay-checkout": {
		order.Payment: {
			order.Pending: "PRE_AUTHORIZED PreAuthorized CREATED", order.Authorized: "AUTHORIZED", order.Paid: "PAID CAPTURED",
			order.PartiallyRefunded: "PARTIAL", order.Refunded: "REFUNDED", order.ChargedBack: "CHARGEBACK", order.Expired: "EXPIRED",
			order.Canceled: "CANCELED CANCELLED", order.Refused: "DENIED", order.Failed: "ERROR",
		},
		order.Authentication: {
			order.Authenticated: "Approved AUTHENTICATED", order.NotAuthenticated: "REJECTED FAILED Rejected",
			order.Pending: "CREATED Challenged",
		},
	},
	"yapay": {order.Payment: {
		order.Pending: "4 88 184", order.Processing: "5", order.InAnalysis: "87", order.Paid: "6",
		order.Disputed: "24", order.Canceled: "7", order.Refused: "89",
	}},
	"beeteller": {order.Payout: {
		order.Pending: "INITIALIZED", order.Processing: "PROCESSING", order.Paid: "PAID",
		order.Expired: "EXPIRED", order.Refused: "REFUSED REJECTED",
	}},
	"sandbox": {order.Payment: {
		order.Pending: "pending", order.Processing: "processing", order.InAnalysis: "in_analysis", order.Authorized: "authorized",
		order.Paid: "paid", order.Settled: "settled", order.PartiallyRefunded: "partially_refunded", order.Refunded: "refunded",
		order.Disputed: "disputed", order.ChargedBack: "charged_back", order.Expired: "expired", order.Canceled: "canceled",
		order.Refused: "refused", order.Failed: "failed",
	}},
}

func TestVocabulariesAreTheDeclaredOnes(t *testing.T) {
	t.Parallel()
	for _, p := range providers.All {
		want := map[order.Kind]map[string]order.Status{}
		for kind, statuses := range vocabulary[p.Name] {
			want[kind] = map[string]order.Status{}
			for status, words := range statuses {
				for word := range strings.FieldsSeq(words) {
					want[kind][word] = status
				}
			}
		}
		if !maps.EqualFunc(p.Vocabulary, want, maps.Equal[map[string]order.Status, map[string]order.Status]) {
			t.Errorf("%s speaks %v, want %v", p.Name, p.Vocabulary, want)
		}
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

package operator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

func newExample() *cobra.Command {
	var in scope
	var role string
	example := &cobra.Command{
		Use:   "example [--provider <provider>] [--env gateway|lookup]",
		Short: "Print how providers are configured",
		Long: "Print the providers' section of a configuration, for every provider or for one, each with two accounts; or the\n" +
			"environment variables that a role reads for it. No configuration and no broker is needed.",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := in.check(); err != nil {
				return err
			}
			shown := slices.DeleteFunc(slices.Clone(providers.All), func(p provider.Provider) bool {
				return in.provider != "" && p.Name != in.provider
			})
			write := exampleSection
			switch role {
			case "":
			case config.RoleGateway, config.RoleLookup:
				write = func(all provider.Set) string { return exampleVariables(all, role) }
			default:
				return usageError{fmt.Errorf("--env is neither %s nor %s", config.RoleGateway, config.RoleLookup)}
			}
			if _, err := fmt.Fprint(c.OutOrStdout(), write(shown)); err != nil {
				return fmt.Errorf("write example: %w", err)
			}
			return nil
		},
	}
	example.Flags().StringVar(&in.provider, "provider", "", "only this `provider`")
	example.Flags().StringVar(&role, "env", "", "the variables that this `role` reads, gateway or lookup")
	return example
}

// exampleAccounts are the accounts of an example.
var exampleAccounts = []string{provider.DefaultAccount, "acme"}

// credential is the key of an account's credentials in a configuration, and the name of
// one in variables.
func credential(p provider.Provider) (key, name string) {
	if p.Unsigned != "" {
		return "path_keys", "PATH_KEY"
	}
	return "webhook_secrets", "WEBHOOK_SECRET"
}

// variable is the environment variable of a value.
func variable(p provider.Provider, account, name string) string {
	parts := []string{p.Name, account, name}
	if account == provider.DefaultAccount {
		parts = []string{p.Name, name}
	}
	return strings.ToUpper(strings.ReplaceAll(strings.Join(parts, "_"), "-", "_"))
}

// needed are the settings that have to be configured.
func needed(p provider.Provider) (names []string) {
	for _, s := range p.Settings {
		if s.Required && s.Default == "" {
			names = append(names, s.Name)
		}
	}
	return names
}

func exampleSection(all provider.Set) string {
	var b strings.Builder
	b.WriteString("providers:\n")
	for i, p := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		key, name := credential(p)
		fmt.Fprintf(&b, "  # %s\n  %s:\n    accounts:\n", strings.ReplaceAll(p.Sample.About, "\n", "\n  # "), p.Name)
		for _, account := range exampleAccounts {
			secret := variable(p, account, name)
			fmt.Fprintf(&b, "      %s:\n        %s: [\"${%s}\", \"${%s_NEXT:-}\"]\n", account, key, secret, secret)
			if len(needed(p)) > 0 {
				b.WriteString("        settings:\n")
			}
			for _, setting := range needed(p) {
				fmt.Fprintf(&b, "          %s: ${%s}\n", setting, variable(p, account, setting))
			}
		}
	}
	return b.String()
}

func exampleVariables(all provider.Set, role string) string {
	var b strings.Builder
	for _, p := range all {
		_, name := credential(p)
		for _, account := range exampleAccounts {
			names := []string{name, name + "_NEXT"}
			if role == config.RoleLookup {
				names = needed(p)
			}
			for _, n := range names {
				fmt.Fprintf(&b, "%s=\n", variable(p, account, n))
			}
		}
	}
	return b.String()
}

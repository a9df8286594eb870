package cli

import (
	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
)

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and print the settings",
		Long: `Settings come from the environment, else from the file given with --config, else
they have their defaults.`,
	}
	return group(cmd, p.configCheckCommand(), p.configPrintCommand())
}

func (p *program) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the settings, all at once",
		Long: `Check reads the settings as 'serve' does and lists all that is wrong or doubtful.
The exit code is 0 if the server would start with them.`,
		Example: `  ollama-api-pool config check
  ollama-api-pool config check --config wrangler.toml`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			if err := app.CheckAddresses(cfg); err != nil {
				return err
			}
			return p.say("The settings are fine.\n")
		},
	}
}

// printedSetting is a setting as 'config print --json' shows it.
type printedSetting struct {
	Name   string        `json:"name"`
	Group  string        `json:"group"`
	Value  *string       `json:"value"` // null: not set
	Source config.Source `json:"source"`
}

// printedConfig is what 'config print --json' prints.
type printedConfig struct {
	File     string           `json:"file,omitempty"`
	Settings []printedSetting `json:"settings"`
	Warnings []string         `json:"warnings"`
}

func (p *program) configPrintCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print every setting and where its value comes from, without secrets",
		Example: `  ollama-api-pool config print
  ollama-api-pool config print --config wrangler.toml --json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return p.printConfig(asJSON) },
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// printConfig prints the settings also when some are wrong, and then fails.
func (p *program) printConfig(asJSON bool) error {
	_, report, wrong := config.Load(p.environ, p.configFile)
	if len(report.Settings) == 0 && wrong != nil {
		return wrong // the file could not be read
	}
	var err error
	if asJSON {
		out := printedConfig{File: report.File, Settings: []printedSetting{}, Warnings: append([]string{}, report.Warnings...)}
		for _, s := range report.Settings {
			out.Settings = append(out.Settings, printedSetting{s.Name, s.Group, textOrNil(s.Value), s.Source})
		}
		err = p.printJSON(out)
	} else {
		for _, w := range report.Warnings {
			p.remark("warning: %s\n", w)
		}
		err = report.Print(p.Out)
	}
	if err != nil {
		return err
	}
	return wrong
}

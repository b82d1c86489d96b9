package watch_test

// story is what makes an alarm fire, and what does not. Series have a sample a minute in
// Prometheus' notation: 0x9 is ten times 0, 1+2x3 is 1 3 5 7, _ is no sample.
type story struct {
	alarm       string
	fires       string
	from, until int      // The first minute in which it fires, and the first in which it does no more.
	as          []string // The labels of the alerts that fire.
	quiet       string   // Series over which it never fires.
}

// Increases over 15 minutes are seen from the first sample after a rise until the last
// sample before it has left the window, which excludes its begin: minutes 10 to 23.
var stories = []story{
	{
		alarm: "ArautoDurabilityUnmet", from: 10, until: 30, as: []string{`{}`},
		fires: `arauto_durability_requirement_unmet{instance="a"} 0x9 1x19 0x200
		        arauto_durability_requirement_unmet{instance="b"} 0x200`,
		quiet: `arauto_durability_requirement_unmet 0x200`,
	},
	{
		alarm: "ArautoWebhooksNotStored", from: 13, until: 30, as: []string{`{class="full"}`},
		fires: `arauto_publish_failures_total{class="full",instance="a"} 0x9 1+1x18 19x200
		        arauto_publish_failures_total{class="timeout",instance="a"} 0x200`,
		// A single failure is gone before its time; the other classes have their own rules.
		quiet: `arauto_publish_failures_total{class="timeout"} 0x9 1x200
		        arauto_publish_failures_total{class="limited"} 0+1x200
		        arauto_publish_failures_total{class="store_failed"} 0+1x200`,
	},
	{
		alarm: "ArautoAccountLimited", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_publish_failures_total{class="limited"} 0x9 1x200`,
		quiet: `arauto_publish_failures_total{class="limited"} 7x200
		        arauto_publish_failures_total{class="timeout"} 0+1x200`,
	},
	{
		alarm: "ArautoStoreFailed", from: 10, until: 14, as: []string{`{}`},
		fires: `arauto_publish_failures_total{class="store_failed"} 0x9 1x200`,
		quiet: `arauto_publish_failures_total{class="store_failed"} 1x200
		        arauto_publish_failures_total{class="full"} 0+1x200`,
	},
	{
		alarm: "ArautoBrokerWriteErrors", from: 11, until: 20, as: []string{`{}`},
		fires: `arauto_broker_write_errors{instance="a"} 0x9 2x9 0x200
		        arauto_broker_write_errors{instance="b"} 0x200`,
		quiet: `arauto_broker_write_errors 0x9 1 0x200`,
	},
	{
		alarm: "ArautoCredentialRefused", from: 10, until: 24, as: []string{`{provider="picpay", result="400105"}`, `{provider="yapay", result="401100"}`},
		fires: `arauto_webhooks_total{provider="picpay",result="400105",rule="credential"} 0x9 1x200
		        arauto_webhooks_total{provider="yapay",result="401100",rule="credential"} 0x9 1x200
		        arauto_webhooks_total{provider="yapay",result="400105",rule="credential"} 0x200`,
		quiet: `arauto_webhooks_total{provider="picpay",result="accepted",rule=""} 0+9x200
		        arauto_webhooks_total{provider="picpay",result="400105",rule="credential"} 3x200`,
	},
	{
		alarm: "ArautoBodyRefused", from: 10, until: 24, as: []string{`{provider="picpay", rule="json"}`},
		fires: `arauto_webhooks_total{provider="picpay",result="400103",rule="json"} 0x9 1x200`,
		quiet: `arauto_webhooks_total{provider="none",result="400103",rule="json"} 0+1x200
		        arauto_webhooks_total{provider="picpay",result="400103",rule="json"} 1x200`,
	},
	{
		alarm: "ArautoBodyTooLarge", from: 10, until: 24, as: []string{`{provider="picpay", result="413100"}`},
		fires: `arauto_webhooks_total{provider="picpay",result="413100"} 0x9 1x200
		        arauto_webhooks_total{provider="picpay",result="415100"} 0x200`,
		quiet: `arauto_webhooks_total{provider="none",result="413100"} 0+1x200`,
	},
	{
		alarm: "ArautoMethodRefused", from: 10, until: 24, as: []string{`{provider="picpay"}`},
		fires: `arauto_webhooks_total{provider="picpay",result="405100"} 0x9 1x200`,
		quiet: `arauto_webhooks_total{provider="none",result="405100"} 0+1x200`,
	},
	{
		alarm: "ArautoWrongURL", from: 10, until: 69, as: []string{`{}`},
		fires: `arauto_webhooks_total{provider="none",result="404100"} 0x9 25x200`,
		quiet: `arauto_webhooks_total{provider="none",result="404100"} 0x9 15x60 30x200`,
	},
	{
		alarm: "ArautoRequestsBroken", from: 10, until: 69, as: []string{`{result="408100"}`},
		fires: `arauto_webhooks_total{provider="none",result="408100"} 0x9 25x200
		        arauto_webhooks_total{provider="none",result="400100"} 0x9 15x200`,
		quiet: `arauto_webhooks_total{provider="none",result="431100"} 0x9 15x200`,
	},
	{
		alarm: "ArautoConnectionsEvicted", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_webhook_connections_evicted_total 0x9 1x200`,
		quiet: `arauto_webhook_connections_evicted_total 5x200`,
	},
	{
		alarm: "ArautoWebhookPanicked", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_webhook_panics_total 0x9 1x200`,
		quiet: `arauto_webhook_panics_total 5x200`,
	},
	{
		alarm: "ArautoCertificateNotReloaded", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_tls_reload_failures_total 0x9 1x200`,
		quiet: `arauto_tls_reload_failures_total 1x200`,
	},
	{
		// 14 days are 1209600 s. The certificate ends 600 s after them, and is renewed at minute 40.
		alarm: "ArautoCertificateExpiresSoon", from: 16, until: 40, as: []string{`{}`},
		fires: `arauto_tls_certificate_expiry_timestamp_seconds{instance="a"} 1210200x39 99999999x200
		        arauto_tls_certificate_expiry_timestamp_seconds{instance="b"} 99999999x200`,
		quiet: `arauto_tls_certificate_expiry_timestamp_seconds 1300000x200`,
	},
	{
		alarm: "ArautoCertificateExpires", from: 16, until: 40, as: []string{`{}`},
		fires: `arauto_tls_certificate_expiry_timestamp_seconds 173400x39 99999999x200`,
		quiet: `arauto_tls_certificate_expiry_timestamp_seconds 1210200x200`,
	},
	{
		alarm: "ArautoCertificateDistrusted", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_tls_handshake_failures_total{reason="refused"} 0x9 1x200`,
		quiet: `arauto_tls_handshake_failures_total{reason="other"} 0+1x200`,
	},
	{
		alarm: "ArautoNotificationsFilling", from: 15, until: 30, as: []string{`{}`},
		fires: `arauto_notifications_fill_ratio{instance="a"} 0.5x9 0.61x19 0.5x200
		        arauto_notifications_fill_ratio{instance="b"} 0.5x9 0.61x19 0.5x200`,
		quiet: `arauto_notifications_fill_ratio 0.6x9 0.7x4 0.6x200`,
	},
	{
		alarm: "ArautoOrdersFilling", from: 25, until: 40, as: []string{`{}`},
		fires: `arauto_stream_fill_ratio{stream="ORDERS"} 0.8x9 0.81x29 0.8x200`,
		quiet: `arauto_stream_fill_ratio{stream="ORDERS"} 0.8x200
		        arauto_stream_fill_ratio{stream="ADVISORIES"} 1x200`,
	},
	{
		alarm: "ArautoOrderPaymentsFilling", from: 25, until: 40, as: []string{`{}`},
		fires: `arauto_stream_fill_ratio{stream="ORDER_PAYMENTS"} 0.8x9 0.81x29 0.8x200`,
		quiet: `arauto_stream_fill_ratio{stream="ORDER_PAYMENTS"} 0.8x200
		        arauto_stream_fill_ratio{stream="ORDERS"} 0.9x200`,
	},
	{
		alarm: "ArautoExpectationsFilling", from: 25, until: 40, as: []string{`{}`},
		fires: `arauto_stream_fill_ratio{stream="EXPECTATIONS"} 0.8x9 0.81x29 0.8x200`,
		quiet: `arauto_stream_fill_ratio{stream="EXPECTATIONS"} 0.8x9 0.9x10 0.8x200`,
	},
	{
		alarm: "ArautoOutcomesFilling", from: 25, until: 40, as: []string{`{}`},
		fires: `arauto_stream_fill_ratio{stream="OUTCOMES"} 0.8x9 0.81x29 0.8x200`,
		quiet: `arauto_stream_fill_ratio{stream="OUTCOMES"} 0.8x9 0.9x10 0.8x200`,
	},
	{
		alarm: "ArautoPaymentsUnannounced", from: 10, until: 69, as: []string{`{provider="picpay"}`},
		fires: `arauto_expectation_outcomes_total{provider="picpay",outcome="unannounced"} 0x9 1x200`,
		quiet: `arauto_expectation_outcomes_total{provider="picpay",outcome="paid"} 0+1x200`,
	},
	{
		alarm: "ArautoExpectationsUnmet", from: 10, until: 69,
		as: []string{`{outcome="amount_mismatch", provider="picpay"}`, `{outcome="never_paid", provider="picpay"}`, `{outcome="paid_late", provider="picpay"}`, `{outcome="paid_twice", provider="picpay"}`},
		fires: `arauto_expectation_outcomes_total{provider="picpay",outcome="never_paid"} 0x9 1x200
		        arauto_expectation_outcomes_total{provider="picpay",outcome="amount_mismatch"} 0x9 1x200
		        arauto_expectation_outcomes_total{provider="picpay",outcome="paid_twice"} 0x9 1x200
		        arauto_expectation_outcomes_total{provider="picpay",outcome="paid_late"} 0x9 1x200`,
		quiet: `arauto_expectation_outcomes_total{provider="picpay",outcome="unannounced"} 0+1x200`,
	},
	{
		alarm: "ArautoExpectationsRefused", from: 10, until: 24, as: []string{`{provider="picpay"}`},
		fires: `arauto_expectation_outcomes_total{provider="picpay",outcome="refused"} 0x9 1x200`,
		quiet: `arauto_expectation_outcomes_total{provider="picpay",outcome="never_paid"} 0+1x200`,
	},
	{
		alarm: "ArautoExpectationOverdue", from: 15, until: 30, as: []string{`{provider="picpay"}`},
		fires: `arauto_expectation_overdue_seconds{provider="picpay",instance="a"} 0x9 601x19 0x200
		        arauto_expectation_overdue_seconds{provider="picpay",instance="b"} 0x9 601x19 0x200`,
		quiet: `arauto_expectation_overdue_seconds 600x9 601x4 600x200`,
	},
	{
		alarm: "ArautoExpectMissing", from: 19, until: 40, as: []string{`{}`},
		fires: `arauto_expectations_open 0x9 _x30 0x200`,
		quiet: `arauto_expectations_open{instance="a"} 0x9
		        arauto_expectations_open{instance="b"} 0x200`,
	},
	{
		alarm: "ArautoExpectationsFailed", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_expectation_failures_total 0x9 1x200`,
		quiet: `arauto_expectation_failures_total 1x200`,
	},
	{
		alarm: "ArautoConsoleOld", from: 20, until: 35, as: []string{`{part="broker"}`},
		fires: `arauto_console_age_seconds{part="broker",instance="a"} 60x9 60+60x24 60x200
		        arauto_console_age_seconds{part="broker",instance="b"} 60x200
		        arauto_console_age_seconds{part="index",instance="a"} 1x200`,
		quiet: `arauto_console_age_seconds{part="broker"} 60x9 400x4 60x200
		        arauto_console_age_seconds{part="index"} 300x200`,
	},
	{
		alarm: "ArautoStatusesFilling", from: 25, until: 40, as: []string{`{}`},
		fires: `arauto_stream_fill_ratio{stream="STATUSES"} 0.8x9 0.81x29 0.8x200`,
		quiet: `arauto_stream_fill_ratio{stream="STATUSES"} 0.8x9 0.9x10 0.8x200`,
	},
	{
		alarm: "ArautoScheduledLookupsFilling", from: 15, until: 40, as: []string{`{}`},
		fires: `arauto_stream_fill_ratio{stream="LOOKUP_RETRIES"} 0.6x9 0.61x29 0.6x200`,
		quiet: `arauto_stream_fill_ratio{stream="LOOKUP_RETRIES"} 0.6x200
		        arauto_stream_fill_ratio{stream="NOTIFICATIONS"} 0.7x200`,
	},
	{
		alarm: "ArautoDeadLettersFilling", from: 15, until: 40, as: []string{`{}`},
		fires: `arauto_stream_fill_ratio{stream="DEAD_LETTERS"} 0.5x9 0.51x29 0.5x200`,
		quiet: `arauto_stream_fill_ratio{stream="DEAD_LETTERS"} 0.5x200`,
	},
	{
		alarm: "ArautoConsumerLate", from: 15, until: 40,
		as: []string{`{consumer="lookup-due-picpay", stream="LOOKUP_RETRIES"}`, `{consumer="lookup-picpay", stream="NOTIFICATIONS"}`, `{consumer="normalize", stream="STATUSES"}`},
		// One of two hosts of picpay is paused, so the other one's payments are late by our fault.
		fires: `arauto_consumer_oldest_age_seconds{stream="NOTIFICATIONS",consumer="lookup-picpay",instance="a"} 0x9 61x29 0x200
		        arauto_consumer_oldest_age_seconds{stream="NOTIFICATIONS",consumer="lookup-picpay",instance="b"} 0x9 61x29 0x200
		        arauto_consumer_oldest_age_seconds{stream="LOOKUP_RETRIES",consumer="lookup-due-picpay",instance="b"} 0x9 61x29 0x200
		        arauto_consumer_oldest_age_seconds{stream="STATUSES",consumer="normalize",instance="c"} 0x9 61x29 0x200
		        arauto_provider_paused{provider="picpay",host="one",instance="a"} 1x200
		        arauto_provider_paused{provider="picpay",host="two",instance="a"} 0x200`,
		quiet: `arauto_consumer_oldest_age_seconds{stream="NOTIFICATIONS",consumer="lookup-picpay",instance="a"} 0x9 600x200
		        arauto_consumer_oldest_age_seconds{stream="LOOKUP_RETRIES",consumer="lookup-due-picpay",instance="a"} 0x9 600x200
		        arauto_provider_paused{provider="picpay",host="one",instance="a"} 1x200
		        arauto_provider_paused{provider="picpay",host="one",instance="b"} 1x200
		        arauto_consumer_oldest_age_seconds{stream="STATUSES",consumer="normalize",instance="c"} 60x9 61x4 60x200
		        arauto_consumer_oldest_age_seconds{stream="ORDERS",consumer="expect",instance="d"} 0x9 600x200
		        arauto_consumer_paused{stream="ORDERS",consumer="expect",instance="d"} 1x300`,
	},
	{
		alarm: "ArautoHeld", from: 25, until: 40, as: []string{`{}`},
		fires: `arauto_consumer_paused{stream="STATUSES",consumer="normalize",instance="a"} 0x9 1x29 0x200
		        arauto_consumer_paused{stream="STATUSES",consumer="normalize",instance="b"} 0x9 1x29 0x200`,
		quiet: `arauto_consumer_paused{stream="STATUSES",consumer="normalize"} 0x9 1x13 0x200
		        arauto_consumer_paused{stream="ORDERS",consumer="billing"} 1x200`,
	},
	{
		alarm: "ArautoConsumerUnattended", from: 19, until: 40, as: []string{`{consumer="normalize", stream="STATUSES"}`},
		// A series is looked up for five minutes after its last sample, at minute 9.
		fires: `arauto_consumer_oldest_age_seconds{stream="STATUSES",consumer="normalize"} 0x9 _x30 0x200
		        arauto_consumer_oldest_age_seconds{stream="NOTIFICATIONS",consumer="lookup-picpay"} 0x200`,
		quiet: `arauto_consumer_oldest_age_seconds{stream="STATUSES",consumer="normalize",instance="a"} 0x9
		        arauto_consumer_oldest_age_seconds{stream="STATUSES",consumer="normalize",instance="b"} 0x200`,
	},
	{
		alarm: "ArautoRoleMissing", from: 19, until: 40, as: []string{`{}`},
		fires: `arauto_webhooks_total 0x200
		        arauto_lookup_outcomes_total 0x200
		        arauto_normalize_outcomes_total 0x9 _x30 0x200
		        arauto_sweep_rounds_total 0x200`,
		quiet: `arauto_webhooks_total 0x200
		        arauto_lookup_outcomes_total 0x200
		        arauto_normalize_outcomes_total{instance="a"} 0x9
		        arauto_normalize_outcomes_total{instance="b"} 0x200
		        arauto_sweep_rounds_total 0x200`,
	},
	{
		alarm: "ArautoRestarts", from: 12, until: 39, as: []string{`{instance="a", job="lookup"}`},
		fires: `process_start_time_seconds{job="lookup",instance="a"} 1x9 2 3 4x200
		        process_start_time_seconds{job="other",instance="a"} 1x9 2 3 4x200
		        arauto_build_info{job="lookup",instance="a",revision="r"} 1x200`,
		quiet: `process_start_time_seconds{job="lookup",instance="a"} 1x9 2 3x200
		        arauto_build_info{job="lookup",instance="a",revision="r"} 1x200`,
	},
	{
		alarm: "ArautoConfigNotReloaded", from: 15, until: 30, as: []string{`{instance="a", job="gateway"}`},
		fires: `arauto_config_last_reload_successful{job="gateway",instance="a"} 1x9 0x19 1x200
		        arauto_config_last_reload_successful{job="gateway",instance="b"} 1x200`,
		quiet: `arauto_config_last_reload_successful{job="gateway",instance="a"} 1x9 0x4 1x200`,
	},
	{
		alarm: "ArautoConsumerUnreadable", from: 15, until: 33, as: []string{`{consumer="normalize", stream="STATUSES"}`},
		fires: `arauto_consumer_scrape_errors_total{stream="STATUSES",consumer="normalize"} 0x9 1+1x19 20x200`,
		quiet: `arauto_consumer_scrape_errors_total{stream="STATUSES",consumer="normalize"} 0x9 1x200`,
	},
	{
		alarm: "ArautoMessagesFailed", from: 20, until: 33, as: []string{`{consumer="normalize"}`},
		fires: `arauto_messages_total{consumer="normalize",result="failed"} 0x9 1+1x19 20x200
		        arauto_messages_total{consumer="lookup-picpay",result="failed"} 0x200`,
		quiet: `arauto_messages_total{consumer="normalize",result="failed"} 0x9 1+1x5 6x200
		        arauto_messages_total{consumer="normalize",result="done"} 0+9x200`,
	},
	{
		alarm: "ArautoMessageFatal", from: 10, until: 24, as: []string{`{consumer="normalize"}`},
		fires: `arauto_messages_total{consumer="normalize",result="fatal"} 0x9 1x200`,
		quiet: `arauto_messages_total{consumer="normalize",result="failed"} 0+1x200`,
	},
	{
		alarm: "ArautoCircuitOpen", from: 11, until: 30, as: []string{`{account="acme", provider="picpay"}`},
		fires: `arauto_circuit_open{provider="picpay",account="acme",instance="a"} 0x9 1x19 0x200
		        arauto_circuit_open{provider="picpay",account="acme",instance="b"} 0x9 1x19 0x200
		        arauto_circuit_open{provider="picpay",account="default",instance="b"} 0x200`,
		quiet: `arauto_circuit_open{provider="picpay",account="acme"} 0x9 1 0x200`,
	},
	{
		alarm: "ArautoProviderPaused", from: 20, until: 30, as: []string{`{host="one", provider="picpay"}`},
		fires: `arauto_provider_paused{provider="picpay",host="one",instance="a"} 0x9 1x19 0x200
		        arauto_provider_paused{provider="picpay",host="one",instance="b"} 0x200`,
		quiet: `arauto_provider_paused{provider="picpay",host="one"} 0x9 1x9 0x200`,
	},
	{
		alarm: "ArautoLookupsWaitForUs", from: 25, until: 40, as: []string{`{cause="circuit"}`, `{cause="credential"}`, `{cause="ours"}`},
		fires: `arauto_scheduled_lookups{cause="credential"} 0x9 1x29 0x200
		        arauto_scheduled_lookups{cause="circuit"} 0x9 1x29 0x200
		        arauto_scheduled_lookups{cause="ours"} 0x9 1x29 0x200`,
		quiet: `arauto_scheduled_lookups{cause="ours"} 0x9 1x14 0x200
		        arauto_scheduled_lookups{cause="recheck"} 9x200`,
	},
	{
		alarm: "ArautoLookupsWaitForProvider", from: 40, until: 50, as: []string{`{cause="transport"}`, `{cause="unavailable"}`, `{cause="unreadable"}`},
		fires: `arauto_scheduled_lookups{cause="transport"} 0x9 1x39 0x200
		        arauto_scheduled_lookups{cause="unavailable"} 0x9 1x39 0x200
		        arauto_scheduled_lookups{cause="unreadable"} 0x9 1x39 0x200`,
		quiet: `arauto_scheduled_lookups{cause="transport"} 0x9 1x29 0x200
		        arauto_scheduled_lookups{cause="throttled"} 9x200`,
	},
	{
		alarm: "ArautoLookupsGivenUp", from: 10, until: 24, as: []string{`{provider="picpay"}`},
		fires: `arauto_lookup_outcomes_total{provider="picpay",outcome="dead_letter"} 0x9 1x200`,
		quiet: `arauto_lookup_outcomes_total{provider="picpay",outcome="observed"} 0+9x200`,
	},
	{
		alarm: "ArautoPaymentsUnknown", from: 15, until: 24, as: []string{`{account="acme", provider="picpay"}`},
		fires: `arauto_lookup_answers_total{provider="picpay",account="acme",payment="unknown"} 0x9 30x200
		        arauto_lookup_answers_total{provider="picpay",account="acme",payment="known"} 0x9 20x200`,
		quiet: `arauto_lookup_answers_total{provider="picpay",account="acme",payment="unknown"} 0x9 30x200
		        arauto_lookup_answers_total{provider="picpay",account="acme",payment="known"} 0x9 31x200
		        arauto_lookup_answers_total{provider="yapay",account="acme",payment="unknown"} 0x9 15x200
		        arauto_lookup_answers_total{provider="yapay",account="acme",payment="known"} 0x200`,
	},
	{
		alarm: "ArautoDeadLettersOpen", from: 15, until: 30, as: []string{`{class="data"}`},
		fires: `arauto_open_dead_letters{class="data",instance="a"} 0x9 1x19 0x200
		        arauto_open_dead_letters{class="data",instance="b"} 0x9 1x19 0x200
		        arauto_open_dead_letters{class="ours",instance="b"} 0x200`,
		quiet: `arauto_open_dead_letters{class="data"} 0x9 1x4 0x200`,
	},
	{
		alarm: "ArautoAnswersLate", from: 20, until: 58, as: []string{`{provider="picpay"}`},
		fires: `arauto_normalize_outcomes_total{provider="picpay",outcome="late"} 0x9 3+3x19 60x200
		        arauto_webhooks_total{provider="picpay",result="accepted"} 0x9 1+1x19 20x200`,
		quiet: `arauto_normalize_outcomes_total{provider="picpay",outcome="late"} 0x9 3+3x19 60x200
		        arauto_webhooks_total{provider="picpay",result="accepted"} 0x9 3+3x19 60x200`,
	},
	{
		alarm: "ArautoProviderInsists", from: 10, until: 24, as: []string{`{provider="picpay"}`},
		fires: `arauto_normalize_outcomes_total{provider="picpay",outcome="insisted"} 0x9 1x200`,
		quiet: `arauto_normalize_outcomes_total{provider="picpay",outcome="late"} 0+1x200`,
	},
	{
		alarm: "ArautoAnswersRefused", from: 10, until: 24, as: []string{`{outcome="illegal", provider="picpay"}`, `{outcome="unknown_word", provider="picpay"}`, `{outcome="unreadable", provider="picpay"}`},
		fires: `arauto_normalize_outcomes_total{provider="picpay",outcome="illegal"} 0x9 1x200
		        arauto_normalize_outcomes_total{provider="picpay",outcome="unknown_word"} 0x9 1x200
		        arauto_normalize_outcomes_total{provider="picpay",outcome="unreadable"} 0x9 1x200`,
		quiet: `arauto_normalize_outcomes_total{provider="picpay",outcome="applied"} 0+1x200`,
	},
	{
		alarm: "ArautoEventsUnreadable", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_unreadable_events_total{job="normalize"} 0x9 1x200
		        arauto_unreadable_events_total{job="sweep"} 0x200`,
		quiet: `arauto_unreadable_events_total{job="sweep"} 1x200`,
	},
	{
		alarm: "ArautoSweepFailed", from: 10, until: 39, as: []string{`{task="stale"}`},
		fires: `arauto_sweep_rounds_total{task="stale",result="failed"} 0x9 1x200
		        arauto_sweep_rounds_total{task="levels",result="failed"} 0x200`,
		quiet: `arauto_sweep_rounds_total{task="stale",result="done"} 0+1x200`,
	},
	{
		alarm: "ArautoSchedulesStuck", from: 15, until: 30, as: []string{`{}`},
		fires: `arauto_sweep_oldest_stuck_schedule_seconds 0x9 61x19 0x200`,
		quiet: `arauto_sweep_oldest_stuck_schedule_seconds 60x9 61x4 60x200`,
	},
	{
		alarm: "ArautoWebhooksLost", from: 10, until: 69, as: []string{`{provider="picpay"}`},
		fires: `arauto_sweep_repaired_total{provider="picpay"} 0x9 1x200`,
		quiet: `arauto_sweep_repaired_total{provider="picpay"} 1x200`,
	},
	{
		alarm: "ArautoMessageGivenUp", from: 10, until: 24, as: []string{`{}`},
		fires: `arauto_advisories_without_dead_letter_total 0x9 1x200`,
		quiet: `arauto_advisories_without_dead_letter_total 1x200`,
	},
}

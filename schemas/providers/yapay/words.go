package yapay

import (
	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// words are the status ids. The names beside them are for people and change
// with the language.
var words = map[string]order.Status{
	"4":   order.Pending,    // Aguardando Pagamento.
	"5":   order.Processing, // Em Processamento, still in the flow chart.
	"6":   order.Paid,       // Aprovada.
	"7":   order.Canceled,   // Cancelada, which is also what a refund ends in.
	"24":  order.Disputed,   // Em Contestacao: contestation and chargeback share it.
	"87":  order.InAnalysis, // Em Monitoramento: the card is approved, not paid.
	"88":  order.Pending,    // Em Recuperacao, legacy.
	"89":  order.Refused,    // Reprovada.
	"184": order.Pending,    // Aguardando confirmacao.
}

// What a refund may say.
const (
	refundFinished = "157" // The other statuses leave the money where it was.
	refundFull     = "53"  // refund_kind_full; 52 is partial.
)

// faults are the error codes that have a class of their own. Each can come with any HTTP status.
var faults = map[string]error{
	"001001": provider.ErrRevoked,  // Seller token invalid or not found.
	"003005": provider.ErrNotFound, // Transaction invalid or nonexistent.
	"003041": provider.ErrNotFound, // Transaction token blank.
	"003042": provider.ErrNotFound, // Transaction not found.
}

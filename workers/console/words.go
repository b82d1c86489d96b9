package console

// words is one text of the pages in both languages. Where it has verbs of package fmt, both
// have the same ones in the same order.
type words struct{ English, Portuguese string }

// table is every text of the pages.
var table = map[string]words{
	"site.name":     {"Arauto", "Arauto"},
	"site.skip":     {"Skip to the content", "Ir para o conteúdo"},
	"site.menu":     {"Pages", "Páginas"},
	"site.asof":     {"As of", "Visto em"},
	"site.ago":      {"ago", "atrás"},
	"site.stale":    {"This page is not refreshed at the moment; what it shows is as old as it says.", "Esta página não está sendo atualizada agora; o que ela mostra tem a idade indicada."},
	"site.none":     {"none", "nenhum"},
	"site.unknown":  {"unknown", "desconhecido"},
	"site.commands": {"The same on the command line", "O mesmo na linha de comando"},

	"menu.now":       {"Now", "Agora"},
	"menu.payments":  {"Payments", "Pagamentos"},
	"menu.dead":      {"Dead letters", "Mensagens mortas"},
	"menu.providers": {"Providers", "Provedores"},
	"menu.broker":    {"Broker", "Broker"},

	"failed.title":   {"Not shown", "Não mostrado"},
	"failed.missing": {"Nothing is stored under that address.", "Nada está guardado sob este endereço."},
	"failed.hint":    {"Search for the order, the payment or the provider's reference.", "Procure pelo pedido, pelo pagamento ou pela referência do provedor."},
	"failed.broker":  {"The broker did not answer, so nothing can be said about this now. The page tries again by itself.", "O broker não respondeu, então nada pode ser dito sobre isto agora. A página tenta de novo sozinha."},
	"failed.cause":   {"Cause", "Causa"},

	"now.title": {"Now", "Agora"},

	"payment.title": {"Payment", "Pagamento"},
}

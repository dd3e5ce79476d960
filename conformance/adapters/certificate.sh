# For adapters to source: certificate puts tls.key and tls.crt for the server's name and address into the current folder, by the
# authority that everybody in the run trusts (doc/adapter.md).
certificate() {
	local host names
	case $SERVER_NAME in
	\[*) host=${SERVER_NAME%%]*} host=${host#[} ;;
	*) host=${SERVER_NAME%%:*} ;;
	esac
	names="IP:$BIND_ADDR"
	case $host in
	*[!0-9.:a-fA-F]*) names="$names,DNS:$host" ;;
	"$BIND_ADDR") ;;
	*) names="$names,IP:$host" ;;
	esac
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout tls.key -subj "/CN=homeserver" -out tls.csr 2>/dev/null
	openssl x509 -req -in tls.csr -CA "$CA_CERT" -CAkey "$CA_KEY" -set_serial "0x$(openssl rand -hex 16)" -days 3650 \
		-extfile <(printf 'subjectAltName=%s' "$names") -out tls.leaf 2>/dev/null
	cat tls.leaf "$CA_CERT" >tls.crt
}

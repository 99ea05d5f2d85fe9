#!/bin/sh
# Known vulnerabilities of what is installed, where the service that knows them can be reached.
bin=$1
output=$("$bin/pip-audit" --progress-spinner off --skip-editable 2>&1)
code=$?
findings=$(printf '%s\n' "$output" | grep -v 'could not be audited' | grep -vE '^(Name|-+)[[:space:]-]|^No known vulnerabilities|^$|^WARNING')
if [ $code -eq 0 ]; then
    audited=$(printf '%s\n' "$output" | grep -c 'could not be audited')
    [ "$audited" -lt 20 ] && echo "pip-audit: no known vulnerabilities" || echo "pip-audit: the vulnerability service knows nothing here; not checked"
elif printf '%s' "$output" | grep -qE 'ConnectionError|Max retries|ServiceError|Name or service|HTTPError'; then
    echo "pip-audit: the vulnerability service cannot be reached from here; not checked"
else
    printf '%s\n' "$findings" | tail -n 40
    exit $code
fi

# What an operator does, and what comes of it, as `name: value`; everything else is log.
export PATH=/opt/handclasp/bin:$PATH HOME=/
say() { printf '%s: %s\n' "$1" "$(eval "$2" 2>&1 | tr '\n' ' ' | sed 's/ *$//')"; }
shown() { timeout 30 systemctl show handclasp.service --value -p "$1"; }
ask() { curl -m 5 -sS --cacert /alice/ca.crt --cert /alice/tls.crt --key /alice/tls.key https://localhost:8443/; }
ctl() { timeout 40 systemctl "$@"; }
until_so() { for _ in $(seq 150); do eval "$1" && return; sleep 0.1; done; }
echo "started: yes"

install -d -o handclasp-pki -g handclasp-pki -m 700 /var/lib/handclasp-pki
install -d -o handclasp-credential -g handclasp-credential -m 700 /var/lib/handclasp
as_pki() { setpriv --reuid handclasp-pki --regid handclasp-pki --clear-groups "$@"; }
cd /
as_pki handclasp-pki --state /var/lib/handclasp-pki init
as_pki handclasp-pki --state /var/lib/handclasp-pki issue peer web --dns localhost
as_pki handclasp-pki --state /var/lib/handclasp-pki issue client alice --email alice@example.com
take() { rm -rf /next && mkdir -m 700 /next && cp -L /var/lib/handclasp-pki/credentials/web/*.crt /var/lib/handclasp-pki/credentials/web/tls.key /next/ && chmod 600 /next/tls.key && chown -R handclasp-credential: /next; }
take && cp -a /next /var/lib/handclasp/tls
cp -rL /var/lib/handclasp-pki/credentials/alice /alice
mkdir -p /etc/handclasp /run/systemd/system/handclasp.service.d
printf '[Service]\nStandardError=append:/out\nStandardOutput=append:/out\n' > /run/systemd/system/handclasp.service.d/log.conf
systemctl daemon-reload

ctl start handclasp.socket
ctl start handclasp.service || {
    systemctl status handclasp.service --no-pager -l | cat
    exit
}
say state 'shown SubState'
say status 'shown StatusText'
pid=$(shown MainPID)
say uid "awk '/^Uid/{print \$2}' /proc/$pid/status"
say capabilities "awk '/^CapEff/{print \$2}' /proc/$pid/status"
say key 'stat -c "%a %U" /run/credentials/handclasp.service/tls.key'
say greeting ask
say readyz 'curl -m 5 -sS --unix-socket /run/handclasp/admin.sock http://localhost/readyz'
ctl reload handclasp.service; echo "reload: $?"
say state_after_reload 'shown SubState'
for unit in handclasp-pki-renew handclasp-pki-crl; do ctl start $unit.service; say ${unit//-/_} "systemctl show $unit.service --value -p Result"; done
say list 'stat -c %U /var/lib/handclasp-pki/ca.crl'

printf '[Service]\nWatchdogSec=4\n' > /run/systemd/system/handclasp.service.d/watchdog.conf
systemctl daemon-reload; ctl restart handclasp.service; sleep 5
say restarts_while_well 'shown NRestarts'
kill -STOP "$(shown MainPID)"
until_so '[ "$(shown NRestarts)" = 1 ] && [ "$(shown SubState)" = running ]'
say restarts_after_stop 'shown NRestarts'
say greeting_after_watchdog ask
rm /run/systemd/system/handclasp.service.d/watchdog.conf

echo HANDCLASP_WORKERS=2 > /etc/handclasp/serve.env
systemctl daemon-reload; ctl restart handclasp.service
say two_workers 'shown StatusText'
say greeting_of_two ask
ctl reload handclasp.service; echo "reload_of_two: $?"

cp /live.conf /run/systemd/system/handclasp.service.d/live.conf
systemctl daemon-reload; ctl restart handclasp.service
pid=$(shown MainPID)
say live_user 'shown User'
as_pki handclasp-pki --state /var/lib/handclasp-pki rotate web
echo "log: the folder changes"
take && cp -a /next/* /var/lib/handclasp/tls/
until_so 'sed "1,/the folder changes/d" /out | grep -q " reloaded "'
say live_reloaded 'sed "1,/the folder changes/d" /out | grep -c " reloaded "'
say live_same_process "[ $pid = \$(shown MainPID) ] && echo yes"
say greeting_live ask
# A renewal by enrollment, from a server that has the authority; then what is good for a copy: the service is restarted.
as_pki handclasp-serve --state /var/lib/handclasp-pki --credential /var/lib/handclasp-pki/credentials/web --enrollment --bind localhost:9000 &
until_so '(echo > /dev/tcp/localhost/9000) 2> /dev/null'
echo HANDCLASP_URL=https://localhost:9000 > /etc/handclasp/renew.env
rm /run/systemd/system/handclasp.service.d/live.conf
mkdir /etc/systemd/system/handclasp-renew.service.d
cp /run/systemd/system/handclasp.service.d/log.conf /etc/systemd/system/handclasp-renew.service.d/
systemctl daemon-reload; ctl restart handclasp.service
before=$(sha256sum < /var/lib/handclasp/tls/tls.crt) pid=$(shown MainPID)
ctl start handclasp-renew.service
say renewed 'systemctl show handclasp-renew.service --value -p Result'
say renewed_certificate '[ "$before" != "$(sha256sum < /var/lib/handclasp/tls/tls.crt)" ] && echo another'
until_so '[ "$(shown MainPID)" != "$pid" ] && [ "$(shown SubState)" = running ]'
say renewed_copy 'cmp /var/lib/handclasp/tls/tls.crt /run/credentials/handclasp.service/tls.crt && echo same'
kill %1
ctl stop handclasp.service handclasp.socket
say end 'shown SubState; shown Result'

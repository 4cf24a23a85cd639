# Handclasp: `uv run just RECIPE`. The state folder holds the authority and the credentials; HANDCLASP_STATE moves it.

state := env("HANDCLASP_STATE", "state")
pki := "handclasp-pki --state '" + state + "'"

# The tests start some thousand interpreters: what one of them compiles, the others read, whatever the machine's habit.
compiled := "PYTHONDONTWRITEBYTECODE="

# Show the recipes.
default:
    @just --list --unsorted

# Make an authority and two credentials, or keep those there are: a server's for localhost, a client's for Alice.
setup:
    @{{ pki }} init --ensure && {{ pki }} issue client alice --email alice@example.com --ensure
    @{{ pki }} issue server localhost --dns localhost --ip 127.0.0.1 --ip ::1 --ensure

# Serve the greeter on https://localhost:8443, or any ASGI application: `just serve shop.web:app`.
serve *args: setup
    @exec handclasp-serve --state '{{ state }}' --credential '{{ state }}/credentials/localhost' {{ args }}

# Greet over HTTP/1.1, as Alice. Also: `just http1 whoami`, `just http1 get /healthz`.
http1 *args:
    @exec handclasp-http1 --credential '{{ state }}/credentials/alice' {{ args }}

# Greet over HTTP/2, as Alice.
http2 *args:
    @exec handclasp-http2 --credential '{{ state }}/credentials/alice' {{ args }}

# New keys and certificates, same identities: for all names, or for those given.
rotate *names:
    @{{ pki }} rotate {{ if names == "" { "--all" } else { names } }}

# The whole story in one terminal: start, greet twice, rotate under way, greet again, stop.
demo:
    @bash docs/demo.sh

# Everything that can be said without running: style, types, who imports whom.
check:
    ruff check . && ruff format --check .
    mypy && mypy tests/typing/api.py && lint-imports

# The tests; arguments go to pytest: `just test tests/unit -k identity`.
test *args:
    {{ compiled }} pytest -n 3 -m "not slow" {{ args }}

# The tests that take long: kill -9 at fifty instants, two hundred issuances at once, attacks, whole rotations under load.
test-slow *args:
    {{ compiled }} pytest -n 2 -m slow {{ args }}

# The wheel and the core on every interpreter that is supported, as far as this machine has them.
test-all:
    pytest -m slow tests/packaging
    bash .ci/interpreters

# Talk nonsense to a server behind the handshake, for two minutes; HANDCLASP_FUZZ_SEED repeats a failure.
fuzz seconds="120" *args:
    HANDCLASP_FUZZ_SECONDS={{ seconds }} pytest tests/fuzz -s {{ args }}

# Write the code of the contracts anew: services/contracts/**/*.proto. What was released may not be broken.
contracts:
    cd services/contracts && buf lint && buf generate
    @bash services/contracts/unbroken.sh

# Measure beside other servers, in one run: all of it, or `just bench --quick`. It takes the group `bench` of dependencies.
bench *args:
    @uv run -q --group bench python -m tests.bench {{ args }}

# The documentation as a site in ./site: a warning, a dead link, or anything to be fetched from elsewhere is an error.
docs:
    @DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=true uv run -q --group docs mkdocs build --strict
    @python -m tests.docs.site site

# The same on http://localhost:8000, and again whenever a page changes.
docs-serve *args:
    @DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=true uv run -q --group docs mkdocs serve --strict {{ args }}

# Write the reference anew, from the code: docs/reference.
reference:
    @python -m tests.docs.reference --write

# A flame graph of the server under load: `just profile h2`, `just profile h1 --bare`, `just profile download-h1`.
profile *args:
    @uv run -q --group bench python -m tests.bench.profile {{ args }}

# Three minutes of load while trust changes: requests, revocations and their delay, memory and descriptors.
soak *args:
    python -m tests.soak {{ args }}

# Wheel and archive of the sources, checked and hashed, in ./dist; uploads nothing. `just release --dirty` to try.
release *args:
    bash .ci/release {{ args }}

# What is known of the pinned dependencies, by the advisory services that answer here; fails on a finding.
audit *args:
    python .ci/audit.py {{ args }}

# The bill of materials: what it runs with, in which versions and under which licences (CycloneDX).
sbom file="dist/handclasp.cdx.json":
    bash .ci/sbom '{{ file }}'

# Write the code in the house's style.
fmt:
    ruff check --fix . && ruff format .

# Move the day on which all dependencies are taken, and write their hashes anew. The lock has what runs and tests; the
# group `bench` stays out of it: peers to be measured, and what draws.
lock day:
    sed -i 's/^exclude-newer = .*/exclude-newer = "{{ day }}T00:00:00Z"/' pyproject.toml
    uv export --quiet --no-header --no-emit-project --no-emit-index-url --format requirements-txt -o requirements.lock

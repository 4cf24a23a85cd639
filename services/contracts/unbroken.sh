# Holds the contracts against those of the last release, where there is one: nobody's client may break.
set -eu
cd "$(dirname "$0")"
tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || { echo "no release yet: nothing to break"; exit 0; }
repository=$(git rev-parse --git-common-dir) # a work tree's .git is a file
buf breaking --against "$repository#tag=$tag,subdir=services/contracts"
echo "nothing is broken since $tag"

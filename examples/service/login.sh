# Stands for a login: a real one asks for a token that `--env` grants.
set -eu
mkdir -p "$HOME/.config"
echo "token-of-the-example" >"$HOME/.config/service-token"

# What the launch scripts share. Sourced, not run.
# shellcheck shell=bash

# Set by --dry_run: commands are printed and not run.
dry_run=""

die() {  # message: wrong use, exit 2
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# The arguments as one line that any POSIX shell reads back as the same words.
quote() {
  local word words=()
  for word in "$@"; do
    case $word in
      "" | *[!A-Za-z0-9_@%+=:,./-]*) word="'${word//\'/\'\\\'\'}'" ;;
    esac
    words+=("$word")
  done
  printf '%s' "${words[*]}"
}

# Runs a command, or prints it under --dry_run.
run() {
  if [[ $dry_run ]]; then
    printf '%s\n' "$(quote "$@")"
  else
    "$@"
  fi
}

# A comment among the commands that --dry_run prints.
note() {
  [[ ! $dry_run ]] || printf '# %s\n' "${1//$'\n'/$'\n'# }"
}

say() {
  [[ $dry_run ]] || printf '%s\n' "$1" >&2
}

# Names reach command lines and the cloud: nothing that looks like a flag.
check_name() {
  [[ $1 =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] || die \
    "name '$1': small letters, digits and '-', a letter first, at most 40"
}

# Asks before something is deleted. $1: what; $2: anything if --yes was given.
confirm() {
  local answer=""
  [[ ! $dry_run && ! $2 ]] || return 0
  printf 'Delete %s? Nothing on it can be got back. Type yes: ' "$1" >&2
  read -r answer || true
  [[ $answer == yes ]] || { echo "nothing deleted" >&2; exit 1; }
}

# The value of a flag: `--flag=VALUE` or `--flag VALUE`. Sets $value, $taken.
flag_value() {
  if [[ $1 == *=* ]]; then
    value=${1#*=} taken=1
  else
    (($# > 1)) || die "$1 needs a value"
    # shellcheck disable=SC2034  # the callers read both
    value=$2 taken=2
  fi
}

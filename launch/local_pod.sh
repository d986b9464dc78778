#!/usr/bin/env bash
# A pod on this machine: N processes on its CPU that train as N hosts would.
#
#   launch/local_pod.sh N [--devices D] [--dry_run] -- mlit train ...
#
# Every process has D CPU devices (default 1). Their lines are prefixed with
# their index; signals go to all of them; the exit status is the worst, where
# 75 (to be started again) is next to 0.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"

number="" devices=1 command=()
while (($#)); do
  taken=1
  case $1 in
    --) shift; command=("$@"); break ;;
    --devices | --devices=*) flag_value "$@"; devices=$value ;;
    --dry_run) dry_run=1 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) die "unknown flag '$1'; a command goes behind --" ;;
    *) [[ ! $number ]] || die "one number of processes, not also '$1'"
       number=$1 ;;
  esac
  shift "$taken"
done
[[ $number =~ ^[1-9][0-9]?$ ]] || die "give a number of processes, 1 to 99"
[[ $devices =~ ^[1-9][0-9]?$ ]] || die "--devices '$devices': give 1 to 99"
((${#command[@]})) || die "give a command: -- mlit train ..."

port=$(python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
flags="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices"
settings=(JAX_PLATFORMS=cpu PYTHONUNBUFFERED=1 "XLA_FLAGS=${flags# }"
  "MLIT_COORDINATOR=127.0.0.1:$port" "MLIT_NUM_PROCESSES=$number")
pids=() readers=()
for ((i = 0; i < number; i++)); do
  if [[ $dry_run ]]; then
    run env "${settings[@]}" "MLIT_PROCESS_INDEX=$i" "${command[@]}"
    continue
  fi
  exec {pipe}> >(trap '' INT TERM HUP; exec sed -u "s/^/[$i] /")
  readers+=($!)
  # Background processes of a script ignore SIGINT; env gives it back.
  env --default-signal=INT "${settings[@]}" "MLIT_PROCESS_INDEX=$i" \
    "${command[@]}" >&"$pipe" 2>&1 {pipe}>&- </dev/null &
  pids+=($!)
  exec {pipe}>&-
done
[[ ! $dry_run ]] || exit 0

for name in INT TERM HUP; do
  # shellcheck disable=SC2064  # the name as it is now
  trap "kill -$name \"\${pids[@]}\" 2>/dev/null || true" "$name"
done
worst=0
for pid in "${pids[@]}"; do
  # A signal ends `wait` early.
  while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
  wait "$pid" && status=0 || status=$?
  if ((status == 75 ? worst == 0 : worst == 75 ? status : status > worst)); then
    worst=$status
  fi
done
for pid in "${readers[@]}"; do
  while kill -0 "$pid" 2>/dev/null; do wait "$pid" || sleep 0.05; done
done
exit "$worst"

#!/usr/bin/env bash
# Run a scan on all nodes of a SLURM job: Ray on every node, `scanner launch` beside the first.
#
#   sbatch slurm/ray_cluster.sh GRID [options of `scanner launch`]
#   sbatch --array=0-2 slurm/ray_cluster.sh GRID0 GRID1 GRID2 [options]     one grid per task
#   slurm/ray_cluster.sh --dry-run GRID [options]      print what would run; starts nothing
#
# The same command again goes on where the scan stopped. slurm/README.md: how to adapt it to a site.
#
#SBATCH --job-name=scanner
#SBATCH --nodes=2
#SBATCH --output=%x-%j.out --open-mode=append
#SBATCH --requeue --no-kill
# 300 s before the time limit the driver is told to have every pack saved; then the job requeues.
#SBATCH --signal=B:USR1@300
#
# ---- Site settings: all that a site must change stands between these two lines. -----------------
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=4
##SBATCH --gpus-per-node=4
##SBATCH --partition=PARTITION
##SBATCH --account=ACCOUNT
# module load python/3.11
# source "$HOME/scanner/.venv/bin/activate"
node_tmp=${SCANNER_NODE_TMP:-/tmp}   # a folder of each node itself, with a short path
save_s=${SCANNER_SAVE_S:-240}        # seconds for saving after the warning, less than in --signal
time_limits=${SCANNER_TIME_LIMITS:-20}  # how many time limits a job may reach; preemption is free
# --------------------------------------------------------------------------------------------------
set -uo pipefail

readonly TRIES=5 LONG_LIFE_S=600 HEAD_START_S=120 STOP_S=20 LONGEST_FOLDER=36 OLDEST_RAY=2.52
readonly INTERRUPTED=75 USAGE=2 LEFT=3 NODES_MISSING=4
readonly STEP=(srun --export=ALL --overlap --mem=0 --nodes=1 --ntasks=1 --cpu-bind=none --no-kill
  --kill-on-bad-exit=0 --quiet)
readonly RAY_NODE=(--block --object-store-memory=200000000 --min-worker-port=0 --max-worker-port=0
  --dashboard-agent-listen-port=0)

job=${SLURM_JOB_ID:-JOB}
run=$job.${SLURM_RESTART_COUNT:-0}  # names this incarnation: a requeued job keeps its id
task=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
task=${task:-$job}                  # an array's last task has the id of the whole array
dry='' grids=() options=() results='' data='' dataset='' forced=''
nodes=() keepers=() address='' driver_rc=0 start=0 warned_at='' terminated='' head_lost=''

say() { printf '%(%F %T)T [%s] %s\n' -1 "$run" "$*"; }
refuse() { printf 'ray_cluster.sh: %s\n' "$*" >&2; exit "$USAGE"; }
alive() { kill -0 "$1" 2>/dev/null; }
nap() { sleep "$1" & wait $!; }     # a trap runs at once, not after the sleep

# ---- what to run, and whether it can -------------------------------------------------------------

read_arguments() {
  if [[ ${1-} == --dry-run ]]; then dry=1; shift; fi
  while (($#)) && [[ $1 != -* ]]; do grids+=("$1"); shift; done
  ((${#grids[@]})) || refuse "no grid: sbatch slurm/ray_cluster.sh jobs/quickstart.yaml"
  while (($#)); do
    case $1 in
      --address*|--nodes*|--cpus*|--dry-run|--pilot)
        refuse "$1 is for scanner launch without SLURM; nodes and CPUs are options of sbatch" ;;
      --results|--data|--dataset) [[ -n ${2-} ]] || refuse "$1 needs a value" ;;
    esac
    case $1 in
      --results) results=$2; shift 2; continue ;;
      --results=*) results=${1#*=}; shift; continue ;;
      --data) data=$2 ;;
      --data=*) data=${1#*=} ;;
      --dataset) dataset=$2 ;;
      --dataset=*) dataset=${1#*=} ;;
      --retry*|--only*) forced=1 ;;
    esac
    options+=("$1"); shift
  done
}

choose_grid() {  # an array's task takes the grid of its number; a single grid serves every task
  local index=${SLURM_ARRAY_TASK_ID:-0} last=$((${#grids[@]} - 1))
  if ((last == 0)); then index=0; fi
  [[ -n ${SLURM_ARRAY_TASK_ID-} || $last == 0 ]] ||
    refuse "${#grids[@]} grids need an array: sbatch --array=0-$last slurm/ray_cluster.sh ..."
  ((index <= last)) || refuse "array task $index has no grid: submit with --array=0-$last"
  ((last == 0)) || [[ -z $results ]] || refuse "--results is one folder, but there are several grids"
  grid=${grids[index]}
  [[ -r $grid ]] || refuse "$grid: no such grid; paths start from $PWD, where you submitted"
}

check_job() {
  [[ -n $dry || -n ${SLURM_JOB_ID-} ]] ||
    refuse "not in a SLURM job: submit it with sbatch, or look at it with --dry-run"
  [[ -z ${SLURM_HET_SIZE-} ]] ||
    refuse "heterogeneous jobs are not supported: ask for unequal nodes in one component"
  [[ -z ${SLURM_GPUS-} || -n ${SLURM_GPUS_PER_NODE-} || ${SLURM_JOB_NUM_NODES:-1} == 1 ]] ||
    refuse "--gpus cannot be split into one step per node: ask for --gpus-per-node"
  [[ -z ${SLURM_GPUS_PER_TASK-} || ${SLURM_TASKS_PER_NODE:-1} == 1?("(x"+([0-9])")") ]] ||
    refuse "--gpus-per-task gives a node's step the GPUs of one of its tasks: ask for --gpus-per-node"
  if [[ -n ${SLURM_JOB_NODELIST-} ]]; then
    mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  else
    nodes=(node1 node2)
  fi
  local longest
  longest=$(folder_of "${#nodes[@]}" "$TRIES")
  ((${#longest} <= LONGEST_FOLDER)) || refuse "$longest has ${#longest} characters; the sockets in" \
    "it allow $LONGEST_FOLDER: set SCANNER_NODE_TMP to a shorter folder, such as /tmp"
}

check_environment() {
  local found
  command -v scanner ray python >/dev/null ||
    refuse "scanner, ray or python is not found: activate the environment in the site settings of" \
      "slurm/ray_cluster.sh, or before sbatch"
  found=$(python -c 'from importlib.metadata import version; print(version("ray"))') ||
    refuse "this python has no Ray: activate the environment in the site settings"
  printf '%s\n%s\n' "$OLDEST_RAY" "$found" | sort -VC ||
    refuse "Ray $found ignores the token; install $OLDEST_RAY or newer"
}

check_scan() {  # the grid's mistakes, the result folder, and whether anything is left to do
  local status
  if [[ -z $results ]]; then
    results=results/$(python -c 'import sys; from ruamel.yaml import YAML
print(YAML(typ="safe").load(open(sys.argv[1]))["name"])' "$grid" 2>/dev/null)
  fi
  [[ $results == /* ]] || results=$PWD/$results
  if [[ -n $data ]]; then export SCANNER_DATA=$data; fi
  if [[ -n $forced || -n $dataset ]]; then
    scanner launch "$grid" "${options[@]}" --dry-run || exit
    return
  fi
  scanner status "$grid" --results "$results" --check
  status=$?
  if [[ -n $dry ]] || ((status == LEFT)); then return; fi
  if ((status == 0)); then say "nothing is left to do"; fi
  exit "$status"
}

# ---- a Ray node ----------------------------------------------------------------------------------

folder_of() { echo "$node_tmp/scan.$run.$start.$1.$2"; }  # NODE'S NUMBER, ATTEMPT

# Ends every process that has an output file of this Ray open, a reader too. A killed Ray leaves agents
# behind that have written their new names over their environment, and have other parents. A driver
# beside the head opens other files.
end_ray() {  # FOLDER
  local folder pids i
  folder=$(cd "${1%/*}" && pwd -P)/${1##*/}  # without links, and known even where somebody removed it
  for ((i = 0; i < 50; i++)); do
    mapfile -t pids < <(find /proc/[0-9]*/fd -lname "$folder/*.out*" -o -lname "$folder/*.err*" 2>/dev/null |
      cut -d/ -f3 | sort -u)
    ((${#pids[@]})) || return
    kill -KILL "${pids[@]}" 2>/dev/null
    sleep 0.1
  done
}

# Runs in a step, on the step's node: Ray in a folder of its own, which ends with it.
ray_node() {  # FOLDER, LOGS, options of ray start...
  local folder=$1 logs=$2 stopping='' ray rc stale i
  shift 2
  for stale in "${folder%/*}/scan.$SLURM_JOB_ID".*; do  # of an earlier run that had no time
    if [[ -O $stale && $stale != *".$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}."* ]]; then rm -rf "$stale"; fi
  done
  mkdir -m 700 "$folder" || return
  trap 'stopping=1' TERM
  # SLURM sets this beside CUDA_VISIBLE_DEVICES, and Ray refuses the two together.
  if [[ -n ${CUDA_VISIBLE_DEVICES-} ]]; then unset ROCR_VISIBLE_DEVICES; fi
  # Counted here, where they are this node's; Ray would take all that the host has.
  ray start "$@" --temp-dir="$folder" --node-name="$SLURMD_NODENAME" \
    --num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" &
  ray=$!
  wait "$ray"; rc=$?
  if [[ -n $stopping ]]; then
    kill "$ray" 2>/dev/null
    for ((i = 0; i < 20; i++)); do kill -0 "$ray" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$ray" 2>/dev/null  # it can be deaf while it looks for a head that is gone
    wait "$ray"; rc=$?
  fi
  trap '' TERM  # a second one would end what follows halfway
  end_ray "$folder"
  mkdir -p "$logs" && cp -r "$folder/session_latest/logs/." "$logs"
  rm -rf "$folder"
  return "$rc"
}

# Keeps Ray on one node until TERM; HUP ends the step at once.
keep_node() {  # NUMBER, TRIES, options of ray start...
  local number=$1 tries=$2 attempt=0 stopping='' srun='' rc began
  local node=${nodes[number]}
  shift 2
  trap 'stopping=1' TERM
  trap 'kill "$srun"' HUP
  while [[ -z $stopping ]]; do
    began=$SECONDS
    "${STEP[@]}" --nodelist="$node" bash -c "$(declare -f end_ray ray_node); ray_node \"\$@\"" ray_node \
      "$(folder_of "$number" "$attempt")" "$logs/$node.$start.$attempt" "$@" </dev/null >>"$logs/$node.log" 2>&1 &
    srun=$!
    wait "$srun"; rc=$?
    while alive "$srun"; do wait "$srun"; rc=$?; done
    [[ -z $stopping ]] || return 0
    say "$node: Ray ended early with status $rc; see $logs/$node.log"
    ((SECONDS - began < LONG_LIFE_S)) || attempt=0
    ((++attempt < tries)) || return 1
    nap 1
  done
}

free_port() {
  python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

export_settings() {
  unset RAY_ADDRESS RAY_TMPDIR RAY_AUTH_TOKEN_PATH RAY_LOG_TO_STDERR  # `end_ray` needs its files
  # Steps would read the job's shares for each task back, but have one task for all of a node.
  unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_TRES_PER_TASK SLURM_NTASKS_PER_NODE
  export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
  RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  export RAY_AUTH_TOKEN
  export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0           # KillWait is no longer than a drain
  export RAY_gcs_rpc_server_reconnect_timeout_s=10         # after the head's death; else 60
  # A node's death is seen within about 20 s, without taking a busy node for a dead one.
  export RAY_health_check_initial_delay_ms="${RAY_health_check_initial_delay_ms:-5000}"
  export RAY_health_check_period_ms="${RAY_health_check_period_ms:-3000}"
  export RAY_health_check_timeout_ms="${RAY_health_check_timeout_ms:-5000}"
  export RAY_health_check_failure_threshold="${RAY_health_check_failure_threshold:-3}"
}

head_address() {  # as the head wrote it: others can make a folder of that name, but not as ours
  local folder
  folder=$(folder_of 0 0)
  if [[ $(stat -c '%u %A' "$folder" 2>/dev/null) == "$EUID d"* ]]; then
    cat "$folder/ray_current_cluster" 2>/dev/null
  fi
}

start_cluster() {
  local deadline=$((SECONDS + HEAD_START_S)) i
  address=''
  keep_node 0 1 --head --port=0 --include-dashboard=false --ray-client-server-port="$(free_port)" \
    "${RAY_NODE[@]}" &
  keepers=($!)
  until [[ $address == *:* ]]; do
    alive "${keepers[0]}" || { tail -n 20 "$logs/${nodes[0]}.log"; return 1; }
    ((SECONDS < deadline)) || { say "no head after $HEAD_START_S s; see $logs"; return 1; }
    nap 0.2
    address=$(head_address)
    [[ -z $terminated$warned_at ]] || return 1
  done
  for ((i = 1; i < ${#nodes[@]}; i++)); do
    keep_node "$i" "$TRIES" --address="$address" "${RAY_NODE[@]}" &
    keepers+=($!)
  done
}

stop_cluster() {
  ((${#keepers[@]})) || return 0
  local deadline=$((SECONDS + STOP_S)) pid
  kill -TERM "${keepers[@]}" 2>/dev/null
  scancel --quiet --signal=TERM "$task"                    # all steps, and not this shell
  for pid in "${keepers[@]}"; do
    while alive "$pid" && ((SECONDS < deadline)); do nap 0.1; done
    kill -HUP "$pid" 2>/dev/null
  done
  wait "${keepers[@]}" 2>/dev/null
  keepers=()
}

# ---- the driver ----------------------------------------------------------------------------------

launch() {  # the driver, again if something kills it or nodes do not come; sets driver_rc, head_lost
  local wanted attempt driver late=''
  for ((attempt = 0; attempt < TRIES; attempt++)); do
    wanted=$(living)
    if [[ -n $late ]]; then wanted=1; fi
    scanner launch "$grid" --results "$results" "${options[@]}" --address "$address" --nodes "$wanted" &
    driver=$!
    watch_driver "$driver"
    [[ -z $warned_at$terminated$head_lost ]] || return
    if ((driver_rc > 128)); then
      say "the driver died of signal $((driver_rc - 128))"
    elif ((driver_rc == NODES_MISSING && wanted > 1)); then
      if (($(living) == wanted)); then late=1; fi
      say "going on with the nodes that are there"
    else
      return
    fi
  done
  say "the driver is not started again after $TRIES tries; the same sbatch goes on"
}

living() {  # the nodes not given up
  local pid count=0
  for pid in "${keepers[@]}"; do if alive "$pid"; then count=$((count + 1)); fi; done
  echo "$count"
}

watch_driver() {  # PID; passes on the warning and the end, which the traps only note
  local driver=$1 deadline='' told=''
  while alive "$driver"; do
    if [[ -z $head_lost ]] && ! alive "${keepers[0]}"; then
      head_lost=1
      deadline=$((SECONDS + 5))
    fi
    if [[ -n $terminated$head_lost && $told != TERM ]]; then
      told=TERM
      kill -TERM "$driver" 2>/dev/null
    elif [[ -n $warned_at && -z $told ]]; then
      told=USR1
      deadline=$((warned_at + save_s))
      kill -USR1 "$driver" 2>/dev/null
    fi
    if [[ -n $deadline ]] && ((SECONDS >= deadline)); then kill -KILL "$driver" 2>/dev/null; fi
    nap 0.5
  done
  wait "$driver"
  driver_rc=$?
  # The driver ends with 1 when the head is gone, and without a word.
  if ((driver_rc == 1)); then nap 2; alive "${keepers[0]}" || head_lost=1; fi
}

# ---- the end of a run ----------------------------------------------------------------------------

saved_something() {  # in this run
  [[ -n $(find "$results"/{trials,studies,checkpoints} -type f -newer "$logs/began" -print -quit 2>/dev/null) ]]
}

requeue() {
  local counted="$results/logs/$job.time_limits"
  if ! scontrol show job "$task" | grep -q 'PreemptTime=[0-9]'; then
    if [[ -n $warned_at ]] && ! saved_something; then
      say "--time is too short: the warning that --signal asks for came before anything was saved; ask for" \
        "a longer --time"
      continue_by_hand
    fi
    if ! date >>"$counted"; then
      say "$counted cannot be written, so nothing would limit the requeueing: mend that first"
      continue_by_hand
    fi
    if (($(wc -l <"$counted") > time_limits)); then
      say "stopped after $time_limits time limits (SCANNER_TIME_LIMITS)"
      continue_by_hand
    fi
  fi
  if scontrol requeue "$task"; then
    say "requeued"
    nap 600                                                # SLURM ends this script
    exit "$INTERRUPTED"
  fi
  say "this job cannot be requeued"
  continue_by_hand
}

continue_by_hand() {
  say "to go on:  sbatch$(printf ' %q' slurm/ray_cluster.sh "$grid" --results "$results" "${options[@]}")"
  exit "$INTERRUPTED"
}

print_plan() {
  local i step
  echo "results and logs: $results"
  echo "environment: RAY_AUTH_MODE=token RAY_AUTH_TOKEN=<made anew in every job>"
  for i in "${!nodes[@]}"; do
    step="${STEP[*]} --nodelist=${nodes[i]} ray start"
    if ((i == 0)); then
      step+=" --head --port=0 --include-dashboard=false --ray-client-server-port=<free port>"
    else
      step+=" --address=<of the head>"
    fi
    echo "$step ${RAY_NODE[*]} --temp-dir=$(folder_of "$i" 0) --node-name=${nodes[i]}" \
      "--num-cpus=\$SLURM_CPUS_ON_NODE --num-gpus=\${SLURM_GPUS_ON_NODE:-0}"
  done
  echo "scanner launch$(printf ' %q' "$grid" --results "$results" "${options[@]}")" \
    "--address <of the head> --nodes ${#nodes[@]}"
  echo "scontrol requeue $task   # after a time limit, $time_limits times at most"
}

main() {
  trap 'warned_at=$SECONDS' USR1
  read_arguments "$@"
  choose_grid
  check_job
  check_environment
  check_scan
  if [[ -n $dry ]]; then print_plan; return; fi
  logs=$results/logs/$run
  mkdir -p "$logs" || refuse "$logs cannot be made: choose --results DIR"
  : >"$logs/began"
  trap 'terminated=1' TERM
  trap stop_cluster EXIT
  say "Ray will listen on every network interface of ${nodes[*]}: a token of this job keeps others out"
  for ((start = 0; start < TRIES; start++)); do
    head_lost=''
    export_settings
    driver_rc=1
    if start_cluster; then launch; else head_lost=1; fi
    stop_cluster
    if [[ -n $terminated ]]; then exit 143; fi
    if ((driver_rc == 0)); then say "the scan is complete"; exit 0; fi
    if [[ -n $warned_at ]] || ((driver_rc == INTERRUPTED)); then requeue; fi
    if [[ -z $head_lost ]]; then exit "$driver_rc"; fi
    say "the head of Ray is gone; starting all of it again"
  done
  say "Ray's head died $TRIES times: see $logs"
  exit 1
}

main "$@"

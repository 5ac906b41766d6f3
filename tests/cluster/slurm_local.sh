#!/usr/bin/env bash
# A real SLURM on this machine, for tests: one munged, one slurmctld and a slurmd per virtual node,
# run as root, without systemd, cgroups or /etc. Everything is below one folder.
#
#   tests/cluster/slurm_local.sh up FOLDER [NODES]   install what is missing, start, wait until idle
#   tests/cluster/slurm_local.sh down FOLDER         cancel all jobs, stop what `up` started
#
# Between the two: export SLURM_CONF=FOLDER/slurm.conf. Needs a SLURM that allows several slurmd on
# one host, as Debian's does. FOLDER/orphans.log names every process that a job left behind.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
cpus_per_node=4 memory_per_node_mb=8000

die() { echo "${0##*/}: $*" >&2; exit 1; }

gone() { ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; }  # a zombie is gone

wait_until() {  # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  until "${@:2}"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

idle_nodes() { [[ $(sinfo -h -p normal -t idle -o %D) == "$nodes" ]]; }
no_jobs() { [[ -z $(squeue -h) ]]; }

install_packages() {
  local command package missing=()
  for command in munged slurmctld slurmd sbatch; do
    case $command in munged) package=munge ;; sbatch) package=slurm-client ;; *) package=$command ;; esac
    command -v "$command" >/dev/null || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "missing: ${missing[*]}, and there is no apt-get"
  # The packages would start services of their own where there is an init system.
  local policy=/usr/sbin/policy-rc.d
  if [[ -e $policy ]]; then policy=''; else printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      "${missing[@]}"; } >"$folder/apt.log" 2>&1 </dev/null || missing=()
  [[ -z $policy ]] || rm -f "$policy"
  ((${#missing[@]})) || { tail "$folder/apt.log" >&2; die "apt-get failed"; }
}

free_ports() {  # the first of $1 ports in a row on which nobody listens
  local first port
  while :; do
    first=$((16000 + RANDOM % 14000))
    for ((port = first; port < first + $1; port++)); do
      if (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then continue 2; fi
    done
    echo "$first"
    return
  done
}

write_configuration() {
  local port i host
  host=$(hostname)
  port=$(free_ports $((nodes + 1)))
  cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=${host%%.*}(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is how long a requeued job waits: 5 s is the least, the default two minutes
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((memory_per_node_mb / cpus_per_node))
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1
ReturnToService=2
SlurmdTimeout=15
UnkillableStepTimeout=60
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
MailProg=/bin/true
Epilog=$folder/epilog.sh
PartitionName=normal Nodes=ALL Default=YES PriorityTier=2 PreemptMode=OFF
PartitionName=spare Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
CONF
  for ((i = 1; i <= nodes; i++)); do
    echo "NodeName=node$i NodeHostname=${host%%.*} NodeAddr=127.77.0.$i Port=$((port + i))" \
      "CPUs=$cpus_per_node RealMemory=$memory_per_node_mb"
  done >>"$folder/slurm.conf"
  # From 23.11 on slurmd loads its cgroup plugin even where nothing uses it.
  if printf '23.11\n%s\n' "$(slurmctld -V | cut -d' ' -f2)" | sort -VC; then
    echo CgroupPlugin=disabled >"$folder/cgroup.conf"
  fi
}

# A site's cgroups end what a job leaves behind. Here the epilog does, and writes it down.
write_epilog() {
  cat >"$folder/epilog.sh" <<EPILOG
#!/usr/bin/env bash
for process in /proc/[0-9]*; do
  variables=\$(tr '\0' '\n' <"\$process/environ") 2>/dev/null || continue
  command=\$(tr '\0' ' ' <"\$process/cmdline") 2>/dev/null || continue
  [[ \${process#/proc/} != "\$\$" && -n \$command && \$command != slurmstepd* ]] || continue
  for wanted in SLURM_CONF="$folder/slurm.conf" SLURM_JOB_ID="\$SLURM_JOB_ID" \\
      SLURMD_NODENAME="\$SLURMD_NODENAME"; do
    grep -qxF "\$wanted" <<<"\$variables" || continue 2
  done
  kill -KILL "\${process#/proc/}" && echo "job \$SLURM_JOB_ID \$SLURMD_NODENAME \$command" >>"$folder/orphans.log"
done 2>/dev/null
exit 0
EPILOG
  chmod +x "$folder/epilog.sh"
  : >"$folder/orphans.log"
}

up() {
  ((EUID == 0)) || die "must be root, as slurmd is"
  ((${#folder} <= 60)) || die "$folder is too long for the sockets in it (60 characters)"
  [[ ! -e $folder/slurm.conf ]] || die "$folder has a cluster already"
  getent hosts "$(hostname)" >/dev/null || die "the host name $(hostname) does not resolve; add it to /etc/hosts"
  mkdir -p "$folder/state"
  chmod 755 "$folder"
  install_packages
  write_configuration
  write_epilog
  trap 'down; tail -n 5 "$folder"/*.log >&2; die "SLURM did not start"' ERR
  (umask 077; head -c 1024 /dev/urandom >"$folder/munge.key")
  munged --force --origin=127.0.0.1 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --seed-file="$folder/munge.seed" --log-file="$folder/munged.log"
  slurmctld -c -f "$folder/slurm.conf"
  local i
  for ((i = 1; i <= nodes; i++)); do slurmd -c -f "$folder/slurm.conf" -N "node$i"; done
  wait_until 60 idle_nodes
}

down() {
  local file pid
  if scontrol ping 2>/dev/null | grep -q 'is UP'; then
    squeue -h -o %A | sort -u | xargs -r scancel
    wait_until 60 no_jobs || true
  fi
  for file in "$folder"/slurmd-*.pid "$folder/slurmctld.pid" "$folder/munged.pid"; do
    pid=$(cat "$file" 2>/dev/null) || continue
    # a process number can have gone to somebody else
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$folder/" || continue
    kill "$pid"
    wait_until 10 gone "$pid" || kill -KILL "$pid"
  done
}

folder=${2-} nodes=${3-2}
[[ $folder == /* && $nodes =~ ^[1-9][0-9]?$ ]] || die "usage: ${0##*/} up|down FOLDER [NODES], FOLDER absolute"
export SLURM_CONF=$folder/slurm.conf
case ${1-} in up) up ;; down) down ;; *) die "usage: ${0##*/} up|down FOLDER [NODES]" ;; esac

#!/usr/bin/env bash
# A Slurm of one node on this machine, for the tests: no database, memory limits enforced, one GPU
# that is none, everything on the loopback interface. Usage, as root: single-node-slurm.sh up|down
# Needs Debian's slurmctld, slurmd, slurm-client and munge.
set -euo pipefail

state=/run/lenspipe-slurm
mark="# Written by lenspipe's tests/helpers/single-node-slurm.sh, which removes it."
host=$(hostname -s)
# The steps of a job drop SLURM_CONF, so that the configuration has to lie where Slurm looks for it.
files=(/etc/slurm/slurm.conf /etc/slurm/gres.conf)

refuse_foreign() {
    for file in "${files[@]}"; do
        if [ -e "$file" ] && ! grep -qxF "$mark" "$file"; then
            echo "$file: found another Slurm's configuration, expected none; it is left alone" >&2
            exit 3
        fi
    done
}

stop() {
    if [ -e "$state/$1.pid" ] && kill "$(cat "$state/$1.pid")" 2> /dev/null; then
        for _ in $(seq 50); do
            kill -0 "$(cat "$state/$1.pid" 2> /dev/null || echo 0)" 2> /dev/null || break
            [ -e "$state/$1.pid" ] || break
            sleep 0.1
        done
    fi
}

down() {
    refuse_foreign
    if [ -e "$state/slurmctld.pid" ]; then
        timeout 10 scancel --quiet --user "$(id -un)" || true
        for _ in $(seq 50); do
            [ -n "$(timeout 2 squeue --noheader --states=running,completing)" ] || break
            sleep 0.1
        done
    fi
    for daemon in slurmd slurmctld munged; do stop $daemon; done
    rm -rf "$state" "${files[@]}"
}

up() {
    down
    install -d -m 0755 "$state" "$state/jobs" "$state/node" /etc/slurm
    memory=$(awk '/MemTotal/ {print int(0.9 * $2 / 1024)}' /proc/meminfo)
    cat > "${files[0]}" << EOF
$mark
ClusterName=lenspipe
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket=$state/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$state/jobs
SlurmdSpoolDir=$state/node
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0
KillWait=2
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill,UsePss
JobAcctGatherFrequency=task=1
JobCompType=jobcomp/filetxt
JobCompLoc=$state/finished.txt
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
    printf '%s\nNodeName=%s Name=gpu File=/dev/null\n' "$mark" "$host" > "${files[1]}"
    head --bytes=1024 /dev/urandom > "$state/munge.key"
    chmod 0400 "$state/munge.key"
    munged --key-file="$state/munge.key" --socket="$state/munge.socket" --seed-file="$state/seed" \
        --pid-file="$state/munged.pid" --log-file="$state/munged.log"
    slurmctld
    slurmd
    for _ in $(seq 50); do
        [ "$(timeout 2 sinfo --noheader --format=%T 2> /dev/null)" != idle ] || return 0
        sleep 0.2
    done
    tail -n 20 "$state"/*.log >&2
    echo "the node did not become idle" >&2
    exit 1
}

case ${1:-} in
up | down) "$1" ;;
*)
    echo "usage: $0 up|down" >&2
    exit 2
    ;;
esac

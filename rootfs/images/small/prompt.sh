# shellcheck shell=dash
# Interactive shells: a prompt that says where it is, and with which status the last command ended if that was not 0.
failed_status() { local status=$?; [ "$status" -eq 0 ] || echo "[$status] "; }
PS1='$(failed_status)\u@\h:\w\$ '
alias ll='ls -l'

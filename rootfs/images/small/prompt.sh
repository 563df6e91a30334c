# Interactive shells: a prompt that says where it is, and with which status the last command ended if that was not 0.
PS1='$(status=$?; [ $status -eq 0 ] || echo "[$status] ")\u@\h:\w\$ '
alias ll='ls -l'

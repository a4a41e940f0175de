
# bash takes words apart at = and :, which stand in the middle of many of zbridge's: they are put together again before
# zbridge is asked, and what bash has taken away stays away from the answers.
_zbridge() {
    local line=${COMP_LINE:0:COMP_POINT} index word rest trimmed words=()
    rest=$line
    for ((index = 0; index <= COMP_CWORD; index++)); do
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        word=${COMP_WORDS[index]}
        ((index == COMP_CWORD)) && word=$trimmed
        if ((${#words[@]} > 0)) && [[ $trimmed == "$rest" && -n $rest ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        rest=${trimmed#"$word"}
    done
    local last=$((${#words[@]} - 1)) IFS=$'\013'
    local current=${words[last]} taken=
    if [[ $COMP_WORDBREAKS == *[=:]* && $current == *[=:]* ]]; then
        taken=${current%"${current##*[=:]}"}
    fi
    COMPREPLY=($(_CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX="$last" ZBRIDGE_COMPLETE=bash zbridge -- "${words[@]}"))
    if [[ $? != 0 ]]; then
        unset COMPREPLY
        return
    fi
    COMPREPLY=("${COMPREPLY[@]#"$taken"}")
    # What goes on gets no blank behind it.
    if [[ ${#COMPREPLY[@]} == 1 && ! ${COMPREPLY[0]} =~ [=/:,+]$ ]]; then
        compopt +o nospace 2> /dev/null
    fi
}
if [[ ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 || ${BASH_VERSINFO[0]} -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _zbridge zbridge
else
    complete -o nospace -o bashdefault -F _zbridge zbridge
fi

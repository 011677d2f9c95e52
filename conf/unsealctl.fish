# SPDX-License-Identifier: Apache-2.0
# fish completion for unsealctl(1). It reads verbs and options from --help, so it always matches the installed unsealctl. The word after
# "=" in the help says what kind of value an option takes.

function __unsealctl_secrets
    for file in /etc/unseald/secrets.d/*.secret /usr/lib/unseald/secrets.d/*.secret
        string replace -r '^.*/(.*)\.secret$' '$1' -- $file
    end
end

function __unsealctl_profiles
    set -l config ~/.aws/config
    set -l credentials ~/.aws/credentials
    set -q AWS_CONFIG_FILE; and set config $AWS_CONFIG_FILE
    set -q AWS_SHARED_CREDENTIALS_FILE; and set credentials $AWS_SHARED_CREDENTIALS_FILE
    cat $config $credentials 2>/dev/null | string match -rg '^\[(?:profile +)?([^]]*)\]'
end

# Prints the values of an option, each behind "prefix". Fails if the option takes none. "typed" is the begun value; the lines of the
# help follow.
function __unsealctl_value -a option prefix typed
    set -l kind
    set -l help $argv[4..]
    if string match -q -- '--*' $option
        # The help has --wait[=NAME] where the value is optional.
        set kind (string match -rg -- "($option\[?=[A-Za-z]+)" $help)[1]
        set kind (string replace '[' '' -- $kind)
    else
        set kind (string match -rg -- " $option (--[A-Za-z0-9-]+=[A-Za-z]+)" $help)[1]
    end
    test -n "$kind"; or return 1
    switch $kind
        case '*=FILE' '*=IMAGE' '*=PEM' '*=DIR'
            for path in (__fish_complete_path $typed)
                echo $prefix$path
            end
        case '--name=*' '--wait=*' '--secret=*'
            string replace -r -- '^' $prefix (__unsealctl_secrets)
        case '--profile=*'
            string replace -r -- '^' $prefix (__unsealctl_profiles)
    end
    return 0
end

function __unsealctl_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -l verb $words[2]
    if not set -q words[2]
        command $words[1] --help 2>/dev/null | string replace -rf '^  ([a-z][a-z-]*) .{0,32}  *([A-Z][^[]*)$' '$1\t$2'
        printf '%s\n' --help --version
        return
    end
    string match -q -- '-*' $verb; and return
    set -l help (command $words[1] $verb --help 2>/dev/null); or return
    # A word such as audit behind the verb may have options of its own.
    if set -q words[3]; and string match -qr -- '^[a-z]+$' $words[3]; and string match -qr -- "^unsealctl $verb $words[3] " $help
        set help (command $words[1] $verb $words[3] --help 2>/dev/null); or return
    end
    if string match -qr -- '^--[^=]*=' $token
        set -l parts (string split -m 1 -- = $token)
        __unsealctl_value $parts[1] $parts[1]= "$parts[2]" $help
        return
    end
    if string match -qr -- '^-[^=]*$' $words[-1]; and __unsealctl_value $words[-1] '' "$token" $help
        return
    end
    if string match -q -- '-*' $token
        string match -arg -- '(?:^| )(--?[A-Za-z][A-Za-z0-9-]*=?)' $help | sort -u
        return
    end
    # Arguments come from the usage lines of the help: words such as lint, secrets and files.
    if test (count $words) -eq 2
        string match -rg -- "^unsealctl $verb ([a-z]+) " $help
    end
    if string match -qr -- "^unsealctl $verb .* NAME\$" $help
        __unsealctl_secrets
    end
    if string match -qr -- "^unsealctl $verb .*\[?(FILE|IMAGE[.a-z]*|DOCUMENT|POLICY)\]?…?\$" $help
        __fish_complete_path $token
    end
end

complete -c unsealctl -f -a '(__unsealctl_complete)'

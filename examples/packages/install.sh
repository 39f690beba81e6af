# Puts the packages beside this file into the virtual environment in $VIRTUAL_ENV. There is no
# network inside; a repository with wheels and pip would say
#     pip install --no-index --find-links wheels --requirement requirements.txt
set -eu
cd "$(dirname "$0")"
site=$("$VIRTUAL_ENV/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for package in romans tallies greetings; do
    cp -R "$package/." "$site"
done
# Compiled once here, so that nothing has to be written there later.
"$VIRTUAL_ENV/bin/python3" -m compileall -q "$site"

#!/usr/bin/env bash
# Parses the base of a pull request into a folder of its own, for `dbt-segconn diff --state`. Runs in the project's folder.
set -euo pipefail
base=$RUNNER_TEMP/segconn-base
state=$RUNNER_TEMP/segconn-state

if [ "$GITHUB_EVENT_NAME" != pull_request ]; then
  echo "::notice title=dbt-segconn diff::No diff: this is not a pull request, and the input state is not set."
  exit
fi
if [ "$(git rev-parse HEAD)" != "$GITHUB_SHA" ]; then
  echo "::error title=dbt-segconn diff::The checkout is not the merge commit of the pull request, so its base is not known. Check it out without ref, or set the input state."
  exit 2
fi
# a commit without its parent: the shallow clone of actions/checkout
if ! git rev-parse --quiet --verify "$GITHUB_SHA^1" >/dev/null; then
  # in the environment, which `ps` does not show; the empty value replaces the header that actions/checkout may have left
  export GIT_CONFIG_COUNT=2
  export GIT_CONFIG_KEY_0=http.$GITHUB_SERVER_URL/.extraheader GIT_CONFIG_VALUE_0=
  export GIT_CONFIG_KEY_1=$GIT_CONFIG_KEY_0
  GIT_CONFIG_VALUE_1="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$TOKEN" | base64 | tr -d '\n')"
  export GIT_CONFIG_VALUE_1
  git fetch --quiet --no-tags --depth=2 origin "$GITHUB_SHA"
fi
rm -rf "$base" "$state"
mkdir -p "$base"
project=$base/$(git rev-parse --show-prefix)
git -C "$(git rev-parse --show-toplevel)" archive "$GITHUB_SHA^1" | tar -x -C "$base"
if [ ! -f "$project/dbt_project.yml" ]; then
  echo "::notice title=dbt-segconn diff::No diff: the base of the pull request has no dbt project in this folder."
  exit
fi
# profiles.yml is the one of the checkout, as for the branch
if [ -f "$project/packages.yml" ] || [ -f "$project/dependencies.yml" ]; then dbt --quiet deps --project-dir "$project"; fi
dbt --quiet parse --project-dir "$project" --target-path "$state"
echo "state=$state" >>"$GITHUB_OUTPUT"

"""The TOML file of completeness profiles, and the setting that chooses among them."""

from attrs import evolve

from traffic_storage.domain.errors import ConfigurationError, InvalidInput
from traffic_storage.domain.profiles import Profiles
from traffic_storage.domain.profiles_json import profiles_in
from traffic_storage.entrypoints.settings.config import StorageConfig
from traffic_storage.entrypoints.settings.sources import toml_of


def configured_profiles(settings: StorageConfig) -> Profiles:
    """Return the profiles of the setting `profiles_file`, with those of `evidence_profile` as default.

    Raises:
        ConfigurationError: the file can't be read, or the profiles are wrong (each problem names the
            file, the table and the field, as `profiles[2].images`), or `evidence_profile` names one
            that does not exist.
    """
    file = settings.profiles_file
    try:
        profiles = Profiles() if file is None else profiles_in(toml_of(file), str(file))
        if not settings.evidence_profile:
            return profiles
        return evolve(profiles, default=profiles.named(settings.evidence_profile))
    except InvalidInput as error:
        named = (
            evolve(one, field="evidence_profile") if one.field == "profile" else one
            for one in error.problems
        )
        raise ConfigurationError(named) from error
